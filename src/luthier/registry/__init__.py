"""Stores: where runs live on the disk. Knows nothing of what a run trains."""
