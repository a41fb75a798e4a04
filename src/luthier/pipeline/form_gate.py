"""The gate once more, on the very files that ship.

The policy, the champion, the base and the sets are those of the specialist's last verdict; each form stands in the
specialist's place, and the hash of its files is in its verdict. A form may leave where its word is as good as the
specialist's own. Criteria of a judge are not asked again: a verdict does not hold their rubrics.
Knows nothing of how forms are written.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from luthier.chat.render import Renderer
from luthier.errors import EvaluationError
from luthier.evaluation.gate import GateVerdict, LeakReport, Policy, Side, Word, evaluate_gate
from luthier.evaluation.gate.gather import Answers, Contender, ItemSet, Settings, ask_against, gather
from luthier.evaluation.runner import Answerer
from luthier.export.shipment import FormName
from luthier.hashing import hash_file, hash_json, hash_text
from luthier.pipeline.certifying import Open, hashes_of
from luthier.pipeline.contender import Found, find_contender
from luthier.pipeline.form_answerer import form_answerer
from luthier.pipeline.gate import BASE_MARK, contender, leak_evidence
from luthier.pipeline.gate_sets import SetFiles, sets_again
from luthier.registry.specialist import Specialist
from luthier.registry.specialists import SpecialistStore

FORM_VERDICT = "form verdict"
"""The kind of the record; `verdict` is the specialist's own, which decides on its promotion."""

_BEST_FIRST = (Word.SHIP, Word.NOT_ENOUGH, Word.HOLD, Word.REJECT)
_JUDGED = "the criteria of the judge were not asked again"
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ShippedForm:
    """A form that stands at `place`, and how it is opened."""

    form: FormName
    place: Path
    open: Open

    @property
    def weights(self) -> str:
        """The hash of the GGUF file, where it is one, else of all files: equal where the same weights ship twice."""
        ggufs = [self.place] if self.place.is_file() else sorted(self.place.glob("*.gguf"))
        return hash_file(ggufs[0]) if len(ggufs) == 1 else hash_json(dict(hashes_of(self.place)))


@dataclass(frozen=True)
class GatedForm:
    """What the gate says of a form. `own`: the specialist's last word."""

    form: FormName
    verdict: GateVerdict
    own: Word

    @property
    def is_worse(self) -> bool:
        return _BEST_FIRST.index(self.verdict.word) > _BEST_FIRST.index(self.own)

    def describe(self) -> str:
        """One line: the word, and the criteria behind it where it is not `ship`."""
        word = self.verdict.word
        behind = [f"{one.criterion}: {one.text}" for one in self.verdict.reasons if one.asks_for is word]
        return f"{self.form}: {word.value}" + (f" ({'; '.join(behind)})" if behind else "")

    def to_record(self) -> dict[str, Any]:
        """JSON values for the store of specialists."""
        return {"form": str(self.form), **self.verdict.to_dict()}


def gate_forms(
    store: SpecialistStore,
    one: Specialist,
    told: Mapping[str, Any],
    forms: Sequence[ShippedForm],
    renderer: Renderer,
    on_progress: Tell = lambda what, done, total: None,
) -> list[GatedForm]:
    """Decide on each form as the verdict `told` was decided; the same weights are asked once.

    Raises EvaluationError where a set, the champion or the base is gone or is another one now.
    """
    gate = _again(store, one, told, on_progress)
    against: Answers | None = None
    decided: dict[str, GateVerdict] = {}
    found = []
    for form in forms:
        weights = form.weights
        if weights not in decided:
            against = against or ask_against(gate.champion, gate.base, gate.asked, gate.settings)
            decided[weights] = _decide(gate, one, form, renderer, against)
        found.append(GatedForm(form.form, decided[weights], Word(told["word"])))
    return found


@dataclass(frozen=True)
class _Gate:
    """The gate of a verdict, ready to be asked again."""

    champion: Contender
    base: Contender | None
    sets: Sequence[ItemSet]
    settings: Settings
    policy: Policy
    asked_with: Mapping[str, Any]
    leaks: LeakReport | str
    warnings: Sequence[str]

    @property
    def asked(self) -> list[ItemSet]:
        return [one for one in self.sets if self.base is not None or one.role != "general"]


def _again(store: SpecialistStore, one: Specialist, told: Mapping[str, Any], on_progress: Tell) -> _Gate:
    policy = Policy.model_validate(told["policy"])
    warnings = [_JUDGED] if policy.judged else []
    policy = policy.model_copy(update={"judge": None, "judged": ()})
    asked_with = told.get("asked_with") or {}
    num_timed = policy.latency.num_questions if policy.latency.p95_seconds is not None else 0
    settings = Settings(
        asked_with.get("max_new_tokens", Settings.max_new_tokens),
        asked_with.get("batch_size", Settings.batch_size),
        num_timed,
        on_progress=on_progress,
    )
    dtype = asked_with.get("dtype", "auto")
    champion = _side(told["champion"], "", store, dtype)
    base = _side(told["base"], BASE_MARK, store, dtype) if told.get("base") else None
    specialist, sets = find_contender(one.ref, store), sets_again(told["sets"])
    own = SetFiles(
        tuple(Path(item.path) for item in sets if item.role == "domain"),
        tuple(Path(item.path) for item in sets if item.role == "golden"),
    ).own
    leaks, noted = leak_evidence(asked_with.get("train") or (), own, specialist)
    return _Gate(champion, base, sets, settings, policy, asked_with, leaks, [*noted, *warnings])


def _side(told: Mapping[str, Any], mark: str, store: SpecialistStore, dtype: str) -> Contender:
    """The model that a verdict names, with the prompt that it was asked with. Raises EvaluationError."""
    name = str(told["name"]).removeprefix(mark)
    found = find_contender(name, store)
    if found.weights != told["weights"]:
        raise EvaluationError(
            f"{name} is not what it was when the gate decided: expected weights {told['weights']}, "
            f"found {found.weights}"
        )
    return contender(found, _prompt(told, found) or "", dtype, mark)


def _prompt(told: Mapping[str, Any], found: Found) -> str | None:
    if "system_prompt" in told:
        return None if told["system_prompt"] is None else str(told["system_prompt"])
    wanted = told.get("system_prompt_hash")
    if wanted is not None and (found.system_prompt is None or hash_text(found.system_prompt) != wanted):
        raise EvaluationError(f"the verdict does not hold the system prompt that {found.name} was asked with")
    return found.system_prompt if wanted is not None else None


def _decide(
    gate: _Gate, one: Specialist, form: ShippedForm, renderer: Renderer, against: Answers
) -> GateVerdict:
    evidence = gather(
        _form_contender(one, form, renderer),
        gate.champion,
        gate.base,
        gate.sets,
        gate.settings,
        leaks=gate.leaks,
        warnings=gate.warnings,
        against=against,
    )
    return replace(evaluate_gate(evidence, gate.policy), asked_with=gate.asked_with)


def _form_contender(one: Specialist, form: ShippedForm, renderer: Renderer) -> Contender:
    name = f"{one.ref} as {form.form}"

    @contextmanager
    def opened() -> Iterator[Answerer]:
        with ExitStack() as stack:
            yield form_answerer(form.open(stack)[0], renderer, name)

    files = dict(hashes_of(form.place))
    return Contender(Side(name, form.weights, one.system_prompt or None, files), opened)
