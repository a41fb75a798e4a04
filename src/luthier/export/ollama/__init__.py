"""Ollama: the chat template in Go, the folder for `ollama create`, and the way there over HTTP.

No Ollama server was run: the protocol is kept as its documentation and source state it.
"""
