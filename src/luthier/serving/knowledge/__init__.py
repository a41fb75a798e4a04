"""Documents that a specialist may look things up in: pieces, an index of their words, and where each piece stands.

A folder of its own for each base of knowledge. Nothing here asks a model: what is found is laid into the prompt exactly
as contexts lay in the training rows.
"""

from luthier.serving.knowledge.base import KnowledgeBase, Passage, default_folder
from luthier.serving.knowledge.prompt import prompt_with

__all__ = ["KnowledgeBase", "Passage", "default_folder", "prompt_with"]
