"""Any server of the OpenAI protocol as an engine: vLLM, llama-server, Ollama, a cloud."""

from luthier.serving.engines.openai.engine import open_openai_engine

__all__ = ["open_openai_engine"]
