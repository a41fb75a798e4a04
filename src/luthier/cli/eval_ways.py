"""The ways to ask a model that was not trained: what they are made of, and what comes of asking.

Knows nothing of options and tables. Imports nothing heavy at its top.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.files import file_name

if TYPE_CHECKING:
    from luthier.chat.messages import Conversation
    from luthier.cli.eval_tasks import Manner
    from luthier.evaluation.answerers.opening import OpenedAnswerer
    from luthier.evaluation.baselines import Baseline
    from luthier.evaluation.lookup import Lookup
    from luthier.evaluation.runner import EvalResult
    from luthier.evaluation.store import EvalStore
    from luthier.evaluation.tasks.definition import Task

SHOTS = 4
PASSAGES = 3


@dataclass(frozen=True)
class Origin:
    """What a model came from. base: None where that is not known, or where it was not trained.

    train: its training files; no_train: why there are none. system_prompt: a specialist's own.
    """

    base: str | None
    train: tuple[str, ...] = ()
    no_train: str = "no training rows are known"
    system_prompt: str | None = None


def origin(model: str) -> Origin:
    """What a run, an adapter or a specialist says of itself. Raises as `find_contender`."""
    from luthier.models.endpoint import is_endpoint
    from luthier.pipeline.contender import find_contender
    from luthier.pipeline.gate import existing_store
    from luthier.pipeline.leaks import training_files

    if is_endpoint(model) or model.lower().endswith(".gguf"):
        return Origin(None)
    found = find_contender(model, existing_store())
    base = found.base if found.base != model else None
    files = training_files(found.data) if found.data else Origin.no_train
    if isinstance(files, str):
        return Origin(base, (), files, found.system_prompt)
    return Origin(base, tuple(files), system_prompt=found.system_prompt)


@dataclass(frozen=True)
class Materials:
    """What the prompts may show."""

    examples: "list[Conversation]"
    lookup: "Lookup | None"
    no_examples: str = Origin.no_train

    @classmethod
    def read(cls, train: Sequence[str], documents: Sequence[Path] = (), no_train: str = "") -> "Materials":
        """Documents take the place of those among the training rows. Raises DataError, EvaluationError."""
        from luthier.evaluation.lookup import Lookup
        from luthier.evaluation.tasks.perplexity import load_documents
        from luthier.pipeline.examples import read_examples

        examples, texts = read_examples(train) if train else ([], [])
        if documents:
            texts = [one.text for path in documents for one in load_documents(path)]
        why = no_train if not train and no_train else Origin.no_train
        return cls(examples, Lookup(texts) if texts else None, why)

    def ways(
        self, task: "Task", prompts: Sequence[tuple[str, str]], shots: int = SHOTS, passages: int = PASSAGES
    ) -> "tuple[list[Baseline], list[str]]":
        """The baselines, and what could not be made. prompts: (name, system prompt).

        Raises EvaluationError where there are fewer examples than `shots`.
        """
        from luthier.evaluation.baselines import Baseline, choose_examples

        own = task.generation.system
        ways = [Baseline("zero-shot", own)]
        ways += [Baseline(name, text) for name, text in prompts]
        notes = []
        if shots and self.examples:
            ways.append(Baseline(f"{shots}-shot", own, choose_examples(self.examples, task.items, shots)))
        elif shots:
            notes.append(f"no few-shot baseline: {self.no_examples} (luthier eval baselines --train FILE)")
        if self.lookup is not None and task.ask == "likelihood":
            notes.append(
                "no retrieval baseline: choices are scored, and passages are shown where answers are generated"
            )
        elif self.lookup is not None:
            ways.append(Baseline(f"retrieval of {passages}", own, lookup=self.lookup, num_passages=passages))
        return ways, notes


def ask_ways(
    answerer: "OpenedAnswerer",
    task: "Task",
    ways: "Sequence[Baseline]",
    manner: "Manner",
    store: "EvalStore",
    out: Path,
) -> "tuple[list[EvalResult], list[str]]":
    """The answers of each way that fits into the model's context; and the others, with the reason."""
    from luthier.errors import ModelError

    results, notes = [], []
    for way in ways:
        asked = replace(manner, system=way.system_prompt, baseline=way)
        try:
            results.append(ask_and_save(answerer, task, asked, store, out))
        except ModelError as error:
            if not way.few_shot and way.lookup is None:
                raise
            notes.append(f"no {way.name} baseline: {error}")
    return results, notes


def ask_and_save(
    answerer: "OpenedAnswerer", task: "Task", manner: "Manner", store: "EvalStore", out: Path
) -> "EvalResult":
    """Answers to a task, kept in `out` under the name of who gave them, and how they were asked."""
    from luthier.cli import eval_tasks
    from luthier.evaluation.runner import save_result

    result = eval_tasks.ask(answerer, task, manner, store)
    save_result(result, out / f"{file_name(result.label)}-{task.name}.jsonl")
    return result
