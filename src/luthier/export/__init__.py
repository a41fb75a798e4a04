"""Models leave the house: merged, and certified to answer as the tested one did.

This room knows nothing of training or serving.
"""
