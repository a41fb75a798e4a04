"""The demo's dataset: ten facts of a rugby league field, asked in many ways. Knows nothing of models."""

from luthier.demo.dataset import DemoDataset, build_demo_dataset, write_demo_dataset

__all__ = ["DemoDataset", "build_demo_dataset", "write_demo_dataset"]
