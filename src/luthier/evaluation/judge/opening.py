"""What a person calls a judge, as something that can be asked: URL#MODEL, or a model on this machine.

This file knows nothing of rubrics and of what a judge says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.errors import ConfigError
from luthier.evaluation.judge.asking import Judge, JudgeSettings, Usage
from luthier.evaluation.judge.cache import Cache
from luthier.evaluation.judge.model import EndpointModel, JudgeModel, LocalModel
from luthier.models.endpoint import is_endpoint, parse_endpoint

if TYPE_CHECKING:
    from luthier.models.load import LoadedModel


def judge_settings(
    *, temperature: float | None, repeats: int, max_tokens: int, max_attempts: int
) -> JudgeSettings:
    """Without a temperature: 0 for one repeat, 0.7 for several, so that they differ. Raises ConfigError."""
    drawn = temperature if temperature is not None else (0.7 if repeats > 1 else 0.0)
    return JudgeSettings(drawn, repeats, max_tokens, max_attempts)


@contextmanager
def open_judge(
    ref: str,
    settings: JudgeSettings,
    load: Callable[[str], LoadedModel],
    *,
    cache: Path,
    api_key_variable: str | None = None,
    timeout_seconds: float = 60.0,
    max_concurrency: int = 4,
    on_reply: Callable[[Usage], None] | None = None,
) -> Iterator[Judge]:
    """A judge for a `with` statement. load: how a model on this machine is loaded. cache: where replies are kept.

    timeout_seconds, max_concurrency, api_key_variable: of a URL. Raises ConfigError, ModelError, EvaluationError.
    """
    if api_key_variable is not None and not is_endpoint(ref):
        raise ConfigError(f"--api-key-variable is for a judge behind a URL; {ref} is a local model")
    with ExitStack() as stack:
        model: JudgeModel
        if is_endpoint(ref):
            endpoint = parse_endpoint(
                ref,
                api_key_variable=api_key_variable,
                timeout_seconds=timeout_seconds,
                max_concurrency=max_concurrency,
            )
            model = stack.enter_context(EndpointModel(endpoint))
        else:
            model = LocalModel(load(ref))
        yield Judge(model, settings, stack.enter_context(Cache(cache)), on_reply)
