"""Which tokens of a turn lie inside the spans of text that a template marks as generated. Knows only of spans."""

from luthier.chat.controls import Encoded

Span = tuple[int, int]


def marked_tokens(whole: Encoded, start: int, stop: int, marks: list[Span]) -> list[int]:
    """The tokens of one turn that the template marks. `stop`, the end of turn, belongs to any marked turn."""
    turn_start, turn_end = whole.spans[start][0], whole.spans[stop][1]
    inside = [(a, b) for a, b in marks if a <= turn_end and turn_start <= b]
    marked = []
    for k in range(start, stop):
        token_start, token_end = whole.spans[k]
        # Tokenizers that trim spaces off the spans cut a token's first space, and give a lone space no width.
        if k > start:
            token_start = min(token_start, max(whole.spans[k - 1][1], turn_start))
        if token_end == whole.spans[k][0]:
            token_end = max(token_end, whole.spans[k + 1][0])
        if any(a < token_end and token_start < b for a, b in inside):
            marked.append(k)
    return [*marked, stop] if inside else []
