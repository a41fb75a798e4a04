"""Documents in pieces: what is searched when a specialist answers, and what rows on documents are made of."""

from luthier.chunks.documents import ENDINGS, Line, lines_of, read_document
from luthier.chunks.pieces import Chunk, ChunkSizes, chunk_file, chunk_text

__all__ = ["ENDINGS", "Chunk", "ChunkSizes", "Line", "chunk_file", "chunk_text", "lines_of", "read_document"]
