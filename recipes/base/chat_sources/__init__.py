"""What the chat-tuning conversations are made of. Knows nothing of tokenizers, models or training."""
