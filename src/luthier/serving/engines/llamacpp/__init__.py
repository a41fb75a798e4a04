"""GGUF files as an engine: one llama.cpp context, LoRA-GGUFs that take turns on it."""

from luthier.serving.engines.llamacpp.engine import open_llamacpp_engine

__all__ = ["open_llamacpp_engine"]
