"""A model on all items: every prompt, answer and verdict kept.

The model is anything that keeps the `Answerer` protocol, decodes greedily and says what it was shown.
Prompts go out in batches of similar length, the longest first, so that a lack of memory shows at once.
This file knows nothing of weights, tokenizers and how answers are generated, and of what a result is worth.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from luthier.chat.messages import Message
from luthier.chat.parse import Termination
from luthier.errors import EvaluationError
from luthier.evaluation.graders import GRADERS, Grader, Verdict, VerdictWord, ungradable
from luthier.evaluation.item import EvalItem
from luthier.evaluation.speed import speed_of
from luthier.evaluation.task import items_hash
from luthier.files import write_bytes_atomic
from luthier.hashing import hash_bytes

FORMAT = 1


@dataclass(frozen=True, slots=True)
class AnsweredItem:
    """One generated answer.

    `prompt` is the rendered text that the model was shown (of an endpoint: the messages), `token_ids` what it
    generated (the stop id included, where one came; None where a server does not show them, and then
    `num_server_tokens` is its own count), `seconds` the answer's share of its batch's wall time, `latency_seconds`
    how long one had to wait for it. Counts are None where a server does not give them.
    """

    text: str
    token_ids: tuple[int, ...] | None
    prompt: str
    num_prompt_tokens: int | None
    termination: Termination
    seconds: float
    latency_seconds: float | None = None
    num_server_tokens: int | None = None

    @property
    def num_tokens(self) -> int | None:
        """How many tokens were generated."""
        return self.num_server_tokens if self.token_ids is None else len(self.token_ids)


class Answerer(Protocol):
    """A model that can be asked. Decoding is greedy (temperature 0): the same prompt, the same answer."""

    @property
    def name(self) -> str:
        """How the model is called in tables."""
        ...

    def answer(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Sequence[AnsweredItem]:
        """One answer per conversation, in order; all of them may be generated as one batch."""
        ...


@dataclass(frozen=True, slots=True)
class Asking:
    """How a batch of items comes to its answers. `ask` takes items and their conversations, in one order."""

    decoding: str
    ask: Callable[[Sequence[EvalItem], Sequence[Sequence[Message]]], Sequence[AnsweredItem]]
    temperature: float = 0.0
    seed: int = 0


class Kept(Protocol):
    """Answers that outlive a killed process."""

    def answer(self, item_id: str) -> AnsweredItem | None:
        """What was answered to this item already."""

    def add(self, results: Sequence["ItemResult"]) -> None:
        """Keep a batch, all of it or nothing; what was kept of these items before is replaced."""


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """How the answers were made. decoding: `greedy`, `sampled`, or `likelihood` where choices were scored."""

    max_new_tokens: int
    batch_size: int
    decoding: str = "greedy"
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ItemResult:
    """One item with its answer and its verdict. `num_tokens` counts the generated ones."""

    id: str
    tags: tuple[str, ...]
    prompt: str
    answer: str
    num_tokens: int | None
    num_prompt_tokens: int | None
    termination: Termination
    grader: str
    verdict: VerdictWord
    score: float
    reason: str
    seconds: float
    source: str | None = None
    latency_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of verdicts. `accuracy` is over what could be graded, 0 where nothing could."""

    num_passed: int
    num_failed: int
    num_ungradable: int

    @property
    def num_graded(self) -> int:
        return self.num_passed + self.num_failed

    @property
    def accuracy(self) -> float:
        return self.num_passed / self.num_graded if self.num_graded else 0.0


@dataclass(frozen=True, slots=True)
class EvalResult:
    """A model's answers to a set of items. `seconds` is the wall time of the whole evaluation."""

    model_name: str
    prompt_variant: str
    system_prompt: str | None
    few_shot: tuple[Mapping[str, Any], ...]
    items_hash: str
    settings: EvalSettings
    items: tuple[ItemResult, ...]
    seconds: float

    @property
    def label(self) -> str:
        """The model with its prompt variant, for tables."""
        suffix = "" if self.prompt_variant == "plain" else f" + {self.prompt_variant}"
        return self.model_name + suffix

    @property
    def tally(self) -> Tally:
        return _tally(self.items)

    @property
    def accuracy(self) -> float:
        return self.tally.accuracy

    def by_tag(self) -> dict[str, Tally]:
        """The tally of each tag, by name; an item counts under each of its tags."""
        tags = sorted({tag for item in self.items for tag in item.tags})
        return {tag: _tally(item for item in self.items if tag in item.tags) for tag in tags}

    def terminations(self) -> dict[str, int]:
        """How many answers ended in which way; every word is present."""
        counts = Counter(item.termination for item in self.items)
        return {word.value: counts[word] for word in Termination}

    def summary(self) -> dict[str, Any]:
        """Everything but the items, as JSON values."""
        tally = self.tally
        return {
            "format": FORMAT,
            "model_name": self.model_name,
            "prompt_variant": self.prompt_variant,
            "system_prompt": self.system_prompt,
            "few_shot": [dict(message) for message in self.few_shot],
            "items_hash": self.items_hash,
            "settings": asdict(self.settings),
            "seconds": self.seconds,
            "num_items": len(self.items),
            "accuracy": tally.accuracy,
            **asdict(tally),
            "by_tag": {tag: {**asdict(one), "accuracy": one.accuracy} for tag, one in self.by_tag().items()},
            "terminations": self.terminations(),
            "speed": asdict(speed_of(self.items)),
        }


def _tally(items: Iterable[ItemResult]) -> Tally:
    counts = Counter(item.verdict for item in items)
    return Tally(counts[VerdictWord.PASSED], counts[VerdictWord.FAILED], counts[VerdictWord.UNGRADABLE])


def evaluate(
    answerer: Answerer,
    items: Sequence[EvalItem],
    *,
    system_prompt: str | None = None,
    few_shot: Sequence[Message] = (),
    prompt_variant: str | None = None,
    max_new_tokens: int = 64,
    batch_size: int = 32,
    on_progress: Callable[[int, int], None] | None = None,
    graders: Mapping[str, Grader] = GRADERS,
    asking: Asking | None = None,
    kept: Kept | None = None,
) -> EvalResult:
    """Ask every item, grade every answer; results stand in the order of the items.

    `system_prompt` comes before an item's own system turn (both in one message), `few_shot` (user and
    assistant turns) before the question. `prompt_variant` names the two in tables. `on_progress` is called
    with (items done, all items) after each batch. `graders`: by the names that the items give; a grader's own
    failure is the verdict `ungradable`. `asking`: another way than greedy generation to come to answers. `kept`:
    where each batch is kept as it comes; a batch that is there whole is graded again, and not asked again.
    Raises EvaluationError on bad arguments and where the answerer returns another number of answers.
    """
    _check(items, few_shot, max_new_tokens, batch_size, graders)
    asking = asking or Asking("greedy", lambda _, prompts: answerer.answer(prompts, max_new_tokens))
    started = time.perf_counter()
    conversations = [_conversation(item.messages, system_prompt, few_shot) for item in items]
    results: dict[int, ItemResult] = {}
    for batch in _batches(conversations, batch_size):
        asked = [items[index] for index in batch]
        answers = _known(kept, asked)
        if answers is None:
            answers = asking.ask(asked, [conversations[index] for index in batch])
        if len(answers) != len(batch):
            raise EvaluationError(
                f"{answerer.name}: expected {len(batch)} answers, one per prompt, found {len(answers)}"
            )
        for index, answered in zip(batch, answers, strict=True):
            results[index] = _result(items[index], answered, graders[items[index].grader])
        if kept is not None:
            kept.add([results[index] for index in batch])
        if on_progress is not None:
            on_progress(len(results), len(items))
    return EvalResult(
        model_name=answerer.name,
        prompt_variant=prompt_variant or _variant(system_prompt, few_shot),
        system_prompt=system_prompt,
        few_shot=tuple(message.to_dict() for message in few_shot),
        items_hash=items_hash(items),
        settings=EvalSettings(max_new_tokens, batch_size, asking.decoding, asking.temperature, asking.seed),
        items=tuple(results[index] for index in range(len(items))),
        seconds=time.perf_counter() - started,
    )


def _known(kept: Kept | None, items: Sequence[EvalItem]) -> Sequence[AnsweredItem] | None:
    """The kept answers of a batch, or None where one is missing: a part of a batch may be answered otherwise."""
    if kept is None:
        return None
    found = [kept.answer(item.id) for item in items]
    return None if None in found else [answered for answered in found if answered is not None]


def _check(
    items: Sequence[EvalItem],
    few_shot: Sequence[Message],
    max_new_tokens: int,
    batch_size: int,
    graders: Mapping[str, Grader],
) -> None:
    if not items:
        raise EvaluationError("expected at least one item to evaluate, found none")
    if max_new_tokens < 1 or batch_size < 1:
        found = f"max_new_tokens={max_new_tokens}, batch_size={batch_size}"
        raise EvaluationError(f"expected at least 1 token and 1 item per batch, found {found}")
    repeated = [identity for identity, count in Counter(item.id for item in items).items() if count > 1]
    if repeated:
        raise EvaluationError(f"expected one item per id, found {repeated[0]!r} more than once")
    for item in items:
        if item.grader not in graders:
            known = ", ".join(graders)
            raise EvaluationError(f"item {item.id!r}: no grader is called {item.grader!r}; known: {known}")
    if few_shot and (few_shot[0].role != "user" or few_shot[-1].role != "assistant"):
        roles = ", ".join(message.role for message in few_shot)
        raise EvaluationError(f"few-shot: expected turns from user to assistant, found {roles}")


def _variant(system_prompt: str | None, few_shot: Sequence[Message]) -> str:
    parts = ["system prompt"] if system_prompt is not None else []
    num_shots = sum(message.role == "assistant" for message in few_shot)
    parts += [f"{num_shots}-shot"] if num_shots else []
    return " + ".join(parts) or "plain"


def _conversation(
    messages: Sequence[Message], system_prompt: str | None, few_shot: Sequence[Message]
) -> tuple[Message, ...]:
    own = messages[:1] if messages and messages[0].role == "system" else ()
    systems = ([] if system_prompt is None else [system_prompt]) + [message.content for message in own]
    head = (Message("system", "\n\n".join(systems)),) if systems else ()
    return (*head, *few_shot, *messages[len(own) :])


def _batches(conversations: Sequence[Sequence[Message]], batch_size: int) -> Iterator[list[int]]:
    """Indices in batches, longest prompts first. Characters stand for tokens: only the order counts."""

    def num_characters(index: int) -> int:
        return sum(len(message.content) for message in conversations[index])

    order = sorted(range(len(conversations)), key=lambda index: (-num_characters(index), index))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _result(item: EvalItem, answered: AnsweredItem, grader: Grader) -> ItemResult:
    verdict = grade_safely(grader, item, answered.text)
    return ItemResult(
        id=item.id,
        tags=item.tags,
        prompt=answered.prompt,
        answer=answered.text,
        num_tokens=answered.num_tokens,
        num_prompt_tokens=answered.num_prompt_tokens,
        termination=answered.termination,
        grader=item.grader,
        verdict=verdict.word,
        score=verdict.score,
        reason=verdict.reason,
        seconds=answered.seconds,
        source=item.source,
        latency_seconds=answered.latency_seconds,
    )


def grade_safely(grader: Grader, item: EvalItem, text: str) -> Verdict:
    """The verdict; `ungradable` where the grader itself fails."""
    try:
        return grader(item, text)
    except Exception as error:
        return ungradable(f"the grader '{grader.name}' failed: {type(error).__name__}: {error}")


def summary_path(path: Path) -> Path:
    """Where the summary of a result stands."""
    return path.with_suffix(".summary.json")


def save_result(result: EvalResult, path: Path | str) -> None:
    """Write one JSON line per item to `path` and the summary beside it (`summary_path`), each whole or not.

    The summary holds the hash of the lines, so that two files that do not belong together are noticed.
    """
    path = Path(path)
    lines = b"".join(_json_bytes(asdict(item)) + b"\n" for item in result.items)
    write_bytes_atomic(path, lines)
    summary = {**result.summary(), "lines_hash": hash_bytes(lines)}
    write_bytes_atomic(summary_path(path), _json_bytes(summary, indent=2) + b"\n")


def _json_bytes(value: Any, indent: int | None = None) -> bytes:
    # A lone surrogate in an answer becomes its JSON escape, and comes back as it was.
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=dict)
    return text.encode("utf-8", errors="backslashreplace")


def load_result(path: Path | str) -> EvalResult:
    """Read what `save_result` wrote. Raises EvaluationError where a file is missing, torn or edited."""
    path = Path(path)
    try:
        lines = path.read_bytes()
        summary = json.loads(summary_path(path).read_bytes())
    except OSError as error:
        raise EvaluationError(
            f"{error.filename}: cannot read the evaluation result: {error.strerror}"
        ) from error
    except ValueError as error:
        raise EvaluationError(f"{summary_path(path)}: broken JSON: {error}; evaluate again") from error
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        raise EvaluationError(f"{summary_path(path)}: expected an evaluation summary of format {FORMAT}")
    if summary.get("lines_hash") != hash_bytes(lines):
        raise EvaluationError(f"{path}: is not what its summary describes; evaluate again")
    try:
        return EvalResult(
            model_name=summary["model_name"],
            prompt_variant=summary["prompt_variant"],
            system_prompt=summary["system_prompt"],
            few_shot=tuple(summary["few_shot"]),
            items_hash=summary["items_hash"],
            settings=EvalSettings(**summary["settings"]),
            items=tuple(_item_result(json.loads(line)) for line in lines.splitlines()),
            seconds=summary["seconds"],
        )
    except (KeyError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise EvaluationError(f"{path}: a field is missing or wrong ({problem}); evaluate again") from error


def _item_result(value: Mapping[str, Any]) -> ItemResult:
    words = {"termination": Termination(value["termination"]), "verdict": VerdictWord(value["verdict"])}
    return ItemResult(**{**value, "tags": tuple(value["tags"]), **words})
