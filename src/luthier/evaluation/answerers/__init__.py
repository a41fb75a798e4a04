"""What can be asked: a local model, a GGUF file, or a model behind a URL. `opening` knows which a name means."""
