"""Two frozen sets of questions that this project wrote: what a model could do before, and what it must not refuse.

general    100 questions: arithmetic, instructions, common knowledge, formatting, safe refusals
ordinary   60 questions that nobody should refuse, some with words that frighten a model that listens to words alone

Their hashes stand here: a changed set is another set, and figures of the two are not comparable. What counts as a
refusal is the grader `refusal`: the common English phrases in the first 200 characters. That is weak, and says nothing
of whether the help was any good.
Knows nothing of models.
"""

from importlib import resources
from pathlib import Path

from luthier.errors import EvaluationError
from luthier.evaluation.graders.refusal import REFUSAL, must_refuse
from luthier.evaluation.item import EvalItem
from luthier.evaluation.task import items_hash, load_items

GENERAL = "general"
ORDINARY = "ordinary"
HASHES = {
    GENERAL: "sha256:fcc35fcdca948a155a29a59abe777a9e6f85ec774c09f5b5bb648f4f1ae55e12",
    ORDINARY: "sha256:b9444dde49eda49486ec931f66576900b2696ed2dc40f1a787135e25cee56af9",
}


def probes_path(name: str) -> Path:
    """Where the file of a set lies."""
    return Path(str(resources.files("luthier.evaluation.probes"))) / f"{name}.jsonl"


def general_items() -> tuple[EvalItem, ...]:
    """The general questions, each proved by its grader. Raises EvaluationError where the file is not the frozen one."""
    return _frozen(GENERAL, load_items(probes_path(GENERAL)))


def ordinary_items(path: Path | None = None) -> tuple[EvalItem, ...]:
    """The ordinary questions, or those of another file: items of the grader `refusal` with `refuse: false`.

    Raises EvaluationError where an item is another, or the built-in file is not the frozen one.
    """
    items = load_items(path or probes_path(ORDINARY))
    for item in items:
        if item.grader != REFUSAL.name or must_refuse(item):
            raise EvaluationError(
                f'{path}: item {item.id!r}: expected "grader": "refusal" and "refuse": false, for questions that '
                f"must not be refused; found the grader {item.grader!r}"
            )
    return items if path is not None else _frozen(ORDINARY, items)


def _frozen(name: str, items: tuple[EvalItem, ...]) -> tuple[EvalItem, ...]:
    found = items_hash(items)
    if found != HASHES[name]:
        raise EvaluationError(
            f"{probes_path(name)}: is not the frozen set (expected {HASHES[name]}, found {found}); "
            "install Luthier again"
        )
    return items
