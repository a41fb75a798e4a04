"""Is what a person said of an answer something that can be kept? Knows nothing of HTTP and databases."""

from luthier.errors import ServingError
from luthier.serving.protocol import Feedback

THUMBS = (1, -1)
RATINGS = (1, 2, 3, 4, 5)
MAX_CHARACTERS = 100_000


def check_feedback(feedback: Feedback) -> None:
    """Raises ServingError that names the field: a thumb is 1 or -1, a rating 1 to 5, at least one thing is said."""
    for name, value, allowed in (("thumb", feedback.thumb, THUMBS), ("rating", feedback.rating, RATINGS)):
        if value is not None and (type(value) is not int or value not in allowed):
            raise ServingError(f"{name}: expected one of {', '.join(map(str, allowed))}, got {value!r:.40}")
    for name, text in (("correction", feedback.correction), ("comment", feedback.comment)):
        if text is None:
            continue
        if not isinstance(text, str) or not text.strip():
            raise ServingError(f"{name}: expected a text, got {text!r:.40}")
        if len(text) > MAX_CHARACTERS:
            raise ServingError(f"{name}: {len(text)} characters; at most {MAX_CHARACTERS} are kept")
    said = (feedback.thumb, feedback.rating, feedback.correction, feedback.comment)
    if all(value is None for value in said):
        raise ServingError("expected at least one of thumb, rating, correction, comment")
