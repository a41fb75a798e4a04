"""Luthier: build, prove and serve small specialist language models on your own machine.

Importing this package loads nothing heavy: each room is imported by the verb that needs it.
"""

__version__ = "0.1.0"
