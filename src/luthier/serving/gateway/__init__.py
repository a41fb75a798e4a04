"""The service over HTTP: OpenAI's API and Ollama's, one door for both.

door: who comes in, and with how much. openai, ollama: bodies to requests, events to bodies. answering: one answer as
one response. app: all of it together. server: on a port, and the orderly end.
"""
