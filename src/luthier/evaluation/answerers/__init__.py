"""What can be asked: a local model, or one behind a URL. `opening` finds out which of them a name means."""
