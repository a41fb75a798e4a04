"""The evaluation sets of a gate: which files they are, whether they are as they were, and what stands in them.

Knows nothing of models and of what answers are worth.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.config import read_yaml
from luthier.errors import EvaluationError
from luthier.evaluation.gate import Policy, Word
from luthier.evaluation.gate.evidence import Role
from luthier.evaluation.gate.gather import ItemSet
from luthier.evaluation.gate.ledger import Ledger
from luthier.evaluation.probes import GENERAL, ORDINARY, general_items, ordinary_items
from luthier.evaluation.task import load_items
from luthier.evaluation.tasks.definition import load_task
from luthier.evaluation.tasks.likelihood import likelihood_of
from luthier.hashing import hash_file, hash_json
from luthier.pipeline.contender import Found
from luthier.registry.specialist import Specialist
from luthier.registry.specialists import PRODUCTION, SpecialistStore

VERDICT = "verdict"
TASK_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class SetFiles:
    """Files: what the candidate is for, what must stay as it is, other specialists' by name, ordinary questions."""

    domain: tuple[Path, ...]
    golden: tuple[Path, ...] = ()
    others: Mapping[str, Path] = field(default_factory=dict)
    ordinary: Path | None = None

    @property
    def own(self) -> tuple[Path, ...]:
        """The files of items that no training row may hold: those of a task are named in it."""
        return tuple(_items_file(path) for path in (*self.domain, *self.golden))


def choose_files(
    named: SetFiles, policy: Policy, folder: Path, store: SpecialistStore | None, found: Sequence[Found]
) -> SetFiles:
    """What is named; else what the policy names, from its folder; else what one of `found` was decided on last.

    Raises EvaluationError where nothing says what the candidate is for, and where a file is named twice.
    """
    domain = named.domain or tuple(folder / one for one in policy.domain.items)
    golden = named.golden or tuple(folder / one for one in policy.golden.items)
    if not domain:
        last = next((sets for one in found if (sets := _last_sets(store, one))), [])
        domain = tuple(Path(one["path"]) for one in last if one["role"] == "domain")
        golden = golden or tuple(Path(one["path"]) for one in last if one["role"] == "golden")
    if not domain:
        raise EvaluationError(
            "nothing says what the candidate is for: name its evaluation items (--items FILE), or name them in the "
            "policy (domain: {items: [FILE]})"
        )
    paths = [path.absolute() for path in (*domain, *golden)]
    if len(set(paths)) < len(paths):
        raise EvaluationError("an evaluation file is named twice, as --items or as --golden: name each once")
    ordinary = folder / policy.over_refusal.items if policy.over_refusal.items else None
    return SetFiles(domain, golden, named.others, named.ordinary or ordinary)


def _last_sets(store: SpecialistStore | None, found: Found) -> list[Mapping[str, Any]]:
    return _sets_of(store, found.specialist) if store is not None and found.specialist is not None else []


def _sets_of(store: SpecialistStore, specialist: Specialist) -> list[Mapping[str, Any]]:
    """The sets of its last `ship`, else of its last verdict: what it was let into production on."""
    verdicts = [record["body"] for record in store.records(specialist, VERDICT)]
    shipped = [one for one in verdicts if one.get("word") == Word.SHIP]
    return list((shipped or verdicts)[-1].get("sets") or ()) if verdicts else []


class Known:
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


def read_sets(
    files: SetFiles, known: Known, store: SpecialistStore | None, found: Sequence[Found]
) -> tuple[list[ItemSet], dict[str, str]]:
    """All sets with their items; the other specialists whose sets are missing, and why. Raises EvaluationError."""

    def read(role: Role, path: Path, name: str | None = None, before: str | None = None) -> ItemSet:
        return item_set(role, path, name, before or known.first_hash(str(path.absolute())))

    sets = [read("domain", path) for path in files.domain] + [read("golden", path) for path in files.golden]
    others, unasked = _sets_of_others(store, {one.specialist.name for one in found if one.specialist})
    sets += [read("others", path, name, before) for name, path, before in others if name not in files.others]
    sets += [read("others", path, name) for name, path in files.others.items()]
    sets.append(ItemSet("general", GENERAL, f"luthier:{GENERAL}", general_items()))
    if files.ordinary is None:
        sets.append(ItemSet("ordinary", ORDINARY, f"luthier:{ORDINARY}", ordinary_items()))
    else:
        place = str(files.ordinary.absolute())
        own = ordinary_items(files.ordinary)
        sets.append(ItemSet("ordinary", files.ordinary.stem, place, own, known.first_hash(place)))
    return sets, {name: why for name, why in unasked.items() if name not in files.others}


def sets_again(recorded: Sequence[Mapping[str, Any]]) -> list[ItemSet]:
    """The sets of a verdict, to be asked once more. Raises EvaluationError that lists those that are gone."""
    built_in = {
        f"luthier:{GENERAL}": ItemSet("general", GENERAL, f"luthier:{GENERAL}", general_items()),
        f"luthier:{ORDINARY}": ItemSet("ordinary", ORDINARY, f"luthier:{ORDINARY}", ordinary_items()),
    }
    gone = [
        one["path"] for one in recorded if one["path"] not in built_in and not Path(one["path"]).is_file()
    ]
    if gone:
        raise EvaluationError(f"evaluation sets of the last verdict are gone: {', '.join(gone)}")
    sets = []
    for one in recorded:
        path, name, before = Path(one["path"]), one["name"], one["hash"]
        if one["path"] in built_in:
            sets.append(built_in[one["path"]])
        elif one["role"] == "ordinary":
            sets.append(ItemSet("ordinary", name, one["path"], ordinary_items(path), before))
        else:
            sets.append(item_set(one["role"], path, name, before))
    return sets


def item_set(role: Role, path: Path, name: str | None = None, before: str | None = None) -> ItemSet:
    """Items (JSONL), or a task with its graders and settings (YAML). Raises EvaluationError."""
    place = str(path.absolute())
    if path.suffix not in TASK_ENDINGS:
        return ItemSet(role, name or path.stem, place, load_items(path), before)
    task = load_task(path)
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
        _rules_hash(path),
        likelihood_of if task.ask == "likelihood" else None,
    )


def _rules_hash(task: Path) -> str:
    """The id of how a task asks and grades: all but its name and its items, and the files that its graders name."""
    values = {key: value for key, value in read_yaml(task).items() if key not in ("name", "items")}
    beside = [task.parent / text for text in _texts(values["graders"])]
    return hash_json([values, sorted(hash_file(path) for path in beside if path.is_file())])


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


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
        own = [one for one in _sets_of(store, store.find(f"{name}@{what}")) if one["role"] == "domain"]
        gone = [one["path"] for one in own if not Path(one["path"]).is_file()]
        if not own or gone:
            why = f"its set {gone[0]} is gone" if gone else "it has no verdict, so its set is not known"
            unasked[name] = f"{why}; name it: --other {name}=FILE"
            continue
        sets += [(name, Path(one["path"]), one["hash"]) for one in own]
    return sets, unasked
