"""What the engines that compute in this process check before an answer begins."""

from collections.abc import Iterable

from luthier.errors import ServingError
from luthier.serving.engines.engine import Ask, Overloaded, Unavailable


def check_open(closed: bool, broken: Exception | None) -> None:
    """Raises Unavailable for an engine that was closed, or whose computation broke."""
    if closed:
        raise Unavailable("the engine is closed")
    if broken is not None:
        raise Unavailable(f"the engine is broken: {broken}; restart the server")


def not_mounted(name: str | None, mounted: Iterable[str]) -> ServingError:
    """The error for a specialist that an engine does not have."""
    return ServingError(f"{name} is not mounted; mounted: {', '.join(mounted) or 'nothing'}")


def check_ask(ask: Ask, num_positions: int, num_tokens: int) -> None:
    """Raises ServingError for an ask that cannot be answered.

    num_positions: tokens of prompt and answer together; num_tokens: ids that the model knows.
    """
    num_prompt = len(ask.prompt_ids)
    if not num_prompt:
        raise ServingError("the prompt is empty: expected at least one token")
    if num_prompt >= num_positions:
        raise ServingError(
            f"a prompt of {num_prompt} tokens leaves no room for an answer: the context holds {num_positions}"
        )
    if ask.sampling.max_new_tokens < 1:
        raise ServingError(f"max_new_tokens: expected at least 1, got {ask.sampling.max_new_tokens}")
    if not 0 <= min(ask.prompt_ids) <= max(ask.prompt_ids) < num_tokens:
        raise ServingError(
            f"the prompt holds ids that are not below {num_tokens}, the size of the vocabulary"
        )


def check_queue(num_asks: int, max_batch: int, max_queue: int, seconds_per_answer: float) -> None:
    """Raises Overloaded where `num_asks` answers, running and waiting, are all that may be there."""
    if num_asks >= max_batch + max_queue:
        seconds = max(1.0, seconds_per_answer)
        raise Overloaded(f"{max_queue} questions wait already; ask again in {seconds:.0f} s", seconds)
