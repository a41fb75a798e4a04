"""Specialists at one address: who answers a question, and how it is asked and answered over HTTP."""
