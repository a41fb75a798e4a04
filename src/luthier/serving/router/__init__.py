"""Who answers: a small classifier over the words and letters of a question, calibrated, which may decline.

Trained from the questions that travel with each specialist, and from general ones as a class of their own.
"""

from luthier.serving.router.decision import Decision, Word
from luthier.serving.router.router import Router, load_router, save_router

__all__ = ["Decision", "Router", "Word", "load_router", "save_router"]
