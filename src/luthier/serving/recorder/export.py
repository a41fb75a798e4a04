"""An interaction as a row that a specialist can learn from. Knows nothing of files."""

from typing import Any

from luthier.serving.recorder.reading import Recorded

GOOD_RATING = 4


def is_liked(one: Recorded) -> bool:
    """Whether a person said that it is right as it will be written: a thumb up, a rating of 4 or 5, or a correction."""
    if one.correction is not None:
        return True
    return one.thumb == 1 or (one.thumb is None and (one.rating or 0) >= GOOD_RATING)


def training_row(one: Recorded) -> dict[str, Any] | None:
    """In the messages format, with where it comes from; the last correction stands for the first answer.

    None where nothing can be learnt: no conversation, no answer, or an answer that nobody saw (a shadow's).
    """
    it = one.interaction
    answer = one.correction if one.correction is not None else next(iter(it.answers), "")
    answered = it.outcome == "answered" or one.correction is not None
    if not (it.messages and answered and answer.strip()) or it.shadow_of is not None:
        return None
    return {
        "messages": [
            *(message.to_dict() for message in it.messages),
            {"role": "assistant", "content": answer},
        ],
        "interaction": it.id,
        "specialist": it.specialist,
        "created": it.created,
        "corrected": one.correction is not None,
        "thumb": one.thumb,
        "rating": one.rating,
    }
