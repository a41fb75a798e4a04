"""Weights in, hidden states and tokens out: hardware, load, methods, forward, generate, embedded.

This room knows nothing of data files, training or runs: it takes paths, names and token ids.
"""
