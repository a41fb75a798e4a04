"""The measured constants of the forecast, all of them, in one place.

Tensors are counted exactly (see `trace`); what a process holds beside them, and how much of a device's rate training
reaches, is not known from shapes. `benchmarks/forecast.py` runs real jobs beside their forecasts and prints what these
constants should be. Those of the CPU were measured so; those of CUDA and Apple were not run here and are the usual
ones.
"""

from collections.abc import Mapping

PROCESS_BYTES: Mapping[str, float] = {"cpu": 0.46e9, "cuda": 0.6e9, "mps": 0.8e9}
"""Held before the first tensor: Python, torch and transformers (CPU); context and kernels on the device (CUDA)."""

ADAPTER_PROCESS_BYTES: Mapping[str, float] = {"cpu": 0.12e9, "cuda": 0.0, "mps": 0.06e9}
"""What PEFT and what it imports hold beside that."""

SLACK: Mapping[str, float] = {"cpu": 1.5, "cuda": 1.06, "mps": 1.06}
"""What an allocator holds for each byte of activations that is alive: rounding and fragments."""

ADAPTER_SLACK: Mapping[str, float] = {"cpu": 1.5, "cuda": 1.1, "mps": 1.1}
"""The same with adapters, whose many short-lived tensors (dropout, thin products) leave holes between the kept ones."""

EFFICIENCY: Mapping[str, float] = {"cpu": 0.5, "cuda": 0.4, "mps": 0.5}
"""The share of the dense rate that a step reaches, for a model wide enough to fill the device."""

FULL_WIDTH: Mapping[str, float] = {"cpu": 1.0, "cuda": 2048.0, "mps": 1024.0}
"""The hidden size from which on that share is reached; narrower models reach it in proportion."""

USABLE = 0.95
"""The share of a device's memory that may be planned with."""
