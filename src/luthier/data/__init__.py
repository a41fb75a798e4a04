"""Files in, rows of tokens out: sources, formats, checks, dataset, batches.

This room knows nothing of models or training: a renderer or a tokenizer is handed in.
"""
