"""A candidate at the gate: find both models, hold the items against the training rows, ask, decide, keep.

Everything lands in one folder: `verdict.json`, `gate.html`, `answers/`; beside it `sets.json` with the hash of each
evaluation set at its first use. A specialist gets the verdict as a record in its store.
Knows nothing of screens.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from luthier.config import read_yaml
from luthier.errors import DataError, EvaluationError
from luthier.evaluation.answerers.local import ModelAnswerer
from luthier.evaluation.gate import GateVerdict, LeakReport, Policy, Side, evaluate_gate
from luthier.evaluation.gate.evidence import Role
from luthier.evaluation.gate.gather import Contender, ItemSet, Settings, gather
from luthier.evaluation.gate.ledger import Ledger
from luthier.evaluation.gate.screen import render_page
from luthier.evaluation.probes import GENERAL, ORDINARY, general_items, ordinary_items
from luthier.evaluation.runner import EvalResult, save_result
from luthier.evaluation.task import load_items
from luthier.evaluation.tasks.definition import load_task
from luthier.files import write_json_atomic, write_text_atomic
from luthier.hashing import hash_file
from luthier.models.load import load_model
from luthier.pipeline.contender import Found, find_contender
from luthier.pipeline.leaks import find_leaks, training_files
from luthier.registry.specialist_diff import prompt_diff
from luthier.registry.specialists import PRODUCTION, SpecialistStore

VERDICT = "verdict"
TASK_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class GateJob:
    """What is held against what, on which files.

    items: what the candidate is for; golden: what must stay as it is; others: sets of other specialists by name, more
    of which are known from the store. train: the training files, where the candidate does not say them. system,
    champion_system: other prompts than the specialists' own. base: where the candidate does not say it.
    """

    candidate: str
    champion: str
    items: tuple[Path, ...]
    out: Path
    policy: Policy = field(default_factory=Policy)
    golden: tuple[Path, ...] = ()
    others: Mapping[str, Path] = field(default_factory=dict)
    ordinary: Path | None = None
    base: str | None = None
    train: tuple[str, ...] = ()
    judged: Path | None = None
    system: str | None = None
    champion_system: str | None = None
    max_new_tokens: int = 64
    batch_size: int = 32
    dtype: str = "auto"
    store: SpecialistStore | None = None


def existing_store() -> SpecialistStore | None:
    """The store of specialists, where there is one already: a gate makes none."""
    from luthier.registry.specialists import default_store, has_default_store

    return default_store() if has_default_store() else None


def run_gate(
    job: GateJob, on_progress: Callable[[str, int, int], None] = lambda what, done, total: None
) -> GateVerdict:
    """The verdict, kept in `job.out`. Raises LuthierError where something named is not there or cannot be read."""
    candidate, champion = (find_contender(ref, job.store) for ref in (job.candidate, job.champion))
    base_ref = job.base or candidate.base
    ledger = Ledger(job.out.parent / "sets.json")
    sets, unasked = _sets(job, _Known(ledger, job.store, (champion, candidate)), (candidate, champion))
    leaks, warnings = _leaks(job, candidate)
    evidence = gather(
        _contender(candidate, job.system, job.dtype),
        _contender(champion, job.champion_system, job.dtype),
        _contender(find_contender(base_ref, job.store), None, job.dtype, "base ") if base_ref else None,
        sets,
        Settings(job.max_new_tokens, job.batch_size, partial(_keep, job.out / "answers"), on_progress),
        leaks=leaks,
        unasked_others=unasked,
        judged=_read_judged(job.judged),
        warnings=[
            *_other_prompt(candidate, job.system),
            *_other_prompt(champion, job.champion_system),
            *warnings,
        ],
    )
    verdict = evaluate_gate(evidence, job.policy)
    write_json_atomic(job.out / "verdict.json", verdict.to_dict())
    write_text_atomic(job.out / "gate.html", render_page(verdict))
    ledger.note({one.path: one.hash for one in evidence.sets})
    if candidate.specialist is not None and job.store is not None:
        job.store.attach(candidate.specialist, VERDICT, verdict.to_dict())
    return verdict


def _contender(found: Found, system: str | None, dtype: str, mark: str = "") -> Contender:
    prompt = system if system is not None else found.system_prompt
    name = mark + found.name
    return Contender(
        Side(name, found.weights, prompt or None),
        lambda: ModelAnswerer(load_model(found.place, dtype=dtype), name),
    )


class _Known:
    """The hash of a set at its first use: by this folder's ledger, else by the verdicts of the specialists."""

    def __init__(self, ledger: Ledger, store: SpecialistStore | None, found: tuple[Found, ...]) -> None:
        self._ledger = ledger
        self._recorded: dict[str, str] = {}
        for one in found:
            if store is not None and one.specialist is not None:
                for record in store.records(one.specialist, VERDICT):
                    for asked in record["body"].get("sets") or ():
                        self._recorded.setdefault(asked["path"], asked["hash"])

    def first_hash(self, path: str) -> str | None:
        return self._ledger.first_hash(path) or self._recorded.get(path)


def _sets(job: GateJob, known: _Known, found: tuple[Found, ...]) -> tuple[list[ItemSet], dict[str, str]]:
    def read(role: Role, path: Path, name: str | None = None, before: str | None = None) -> ItemSet:
        place = str(path.absolute())
        return item_set(role, path, name, before or known.first_hash(place))

    sets = [read("domain", path) for path in job.items] + [read("golden", path) for path in job.golden]
    others, unasked = _sets_of_others(job.store, {one.specialist.name for one in found if one.specialist})
    sets += [read("others", path, name, before) for name, path, before in others if name not in job.others]
    sets += [read("others", path, name) for name, path in job.others.items()]
    sets.append(ItemSet("general", GENERAL, f"luthier:{GENERAL}", general_items()))
    if job.ordinary is None:
        sets.append(ItemSet("ordinary", ORDINARY, f"luthier:{ORDINARY}", ordinary_items()))
    else:
        place = str(job.ordinary.absolute())
        own = ordinary_items(job.ordinary)
        sets.append(ItemSet("ordinary", job.ordinary.stem, place, own, known.first_hash(place)))
    paths = [one.path for one in sets if one.role in ("domain", "golden")]
    if len(set(paths)) < len(paths):
        raise EvaluationError("an evaluation file is named twice, as --items or as --golden: name each once")
    return sets, {name: why for name, why in unasked.items() if name not in job.others}


def item_set(role: Role, path: Path, name: str | None = None, before: str | None = None) -> ItemSet:
    """Items (JSONL), or a task with its graders and settings (YAML). Raises EvaluationError."""
    place = str(path.absolute())
    if path.suffix not in TASK_ENDINGS:
        return ItemSet(role, name or path.stem, place, load_items(path), before)
    task = load_task(path)
    if task.ask != "generate":
        raise EvaluationError(
            f"{path}: the gate asks models for answers; it does not score choices (`ask: {task.ask}`)"
        )
    settings = task.generation
    return ItemSet(
        role,
        name or task.name,
        place,
        task.items,
        before,
        task.graders_by_name,
        settings.max_new_tokens,
        settings.system,
    )


def _items_file(path: Path) -> Path:
    """The file that the items stand in: that of a task is named in it."""
    return path.parent / str(read_yaml(path)["items"]) if path.suffix in TASK_ENDINGS else path


def _sets_of_others(
    store: SpecialistStore | None, own_names: set[str]
) -> tuple[list[tuple[str, Path, str]], dict[str, str]]:
    """The domain sets of the other specialists' last verdicts (name, file, hash), and who has none, and why."""
    sets: list[tuple[str, Path, str]] = []
    unasked: dict[str, str] = {}
    for name in store.names() if store is not None else ():
        if store is None or name in own_names:
            continue
        what = PRODUCTION if PRODUCTION in store.aliases(name) else "latest"
        verdicts = store.records(store.find(f"{name}@{what}"), VERDICT)
        own = (
            [one for one in (verdicts[-1]["body"].get("sets") or ()) if one["role"] == "domain"]
            if verdicts
            else []
        )
        gone = [one["path"] for one in own if not Path(one["path"]).is_file()]
        if not own or gone:
            why = f"its set {gone[0]} is gone" if gone else "it has no verdict, so its set is not known"
            unasked[name] = f"{why}; name it: --other {name}=FILE"
            continue
        sets += [(name, Path(one["path"]), one["hash"]) for one in own]
    return sets, unasked


def _leaks(job: GateJob, candidate: Found) -> tuple[LeakReport | str, list[str]]:
    """The items against the training rows; and a warning where the items chose the candidate's checkpoint."""
    own = [_items_file(path) for path in (*job.items, *job.golden)]
    hashes = {hash_file(path): path for path in own}
    warnings = [
        f"{hashes[entry['sha256']]} is a file that the training measured itself on ({entry['role']}): its choice of "
        "checkpoint and of settings may be fitted to it"
        for entry in candidate.data
        if entry.get("role") != "train" and entry.get("sha256") in hashes
    ]
    train = list(job.train) or training_files(candidate.data)
    if isinstance(train, str):
        why = (
            f"{train}; name the training files: --train FILE"
            if candidate.data
            else ("nothing says what the candidate was trained on; name the training files: --train FILE")
        )
        return why, warnings
    try:
        return find_leaks(train, own), warnings
    except DataError as error:
        return f"the data check could not be made: {error}", warnings


def _other_prompt(found: Found, system: str | None) -> list[str]:
    """A specialist that is asked with another system prompt than its own is another specialist."""
    if found.specialist is None or system is None or system == (found.system_prompt or ""):
        return []
    lines = prompt_diff(found.system_prompt, system, (f"prompt of {found.name}", "prompt it was asked with"))
    return ["\n".join([f"{found.name} was asked with another system prompt than its own:", *lines])]


def _keep(folder: Path, name: str, one: ItemSet, result: EvalResult) -> None:
    slug = "".join(
        c if c.isalnum() or c in "._-" else "-" for c in f"{name}-{one.role}-{one.name}".strip("./")
    )
    save_result(result, folder / f"{slug}.jsonl")


def _read_judged(path: Path | None) -> dict[str, Mapping[str, Any]] | None:
    """`{criterion: {judge, word, wins, losses, ties}}`. Raises EvaluationError where the file is not that."""
    if path is None:
        return None
    try:
        reports = json.loads(path.read_text(encoding="utf-8"))
        for criterion, one in reports.items():
            counts = [one[key] for key in ("wins", "losses", "ties")]
            if not isinstance(one["word"], str) or not all(type(n) is int and n >= 0 for n in counts):
                raise ValueError(f"{criterion}: word is a text; wins, losses, ties are counts")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EvaluationError(
            f'{path}: expected {{"CRITERION": {{"judge", "word", "wins", "losses", "ties"}}}}: '
            f"{type(error).__name__}: {error}"
        ) from error
    return dict(reports)
