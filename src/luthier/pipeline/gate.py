"""A candidate at the gate: find both models, hold the items against the training rows, ask, decide, keep.

Everything lands in one folder: `verdict.json`, `gate.html`, `answers/`; beside it `sets.json` with the hash of each
evaluation set at its first use. A specialist gets the verdict as a record in its store.
Knows nothing of screens.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from luthier.errors import DataError
from luthier.evaluation.answerers.opening import open_answerer
from luthier.evaluation.gate import (
    Evidence,
    GateVerdict,
    Judgement,
    LeakReport,
    Policy,
    RoutingReport,
    Side,
    evaluate_gate,
)
from luthier.evaluation.gate.gather import Contender, ItemSet, Settings, gather
from luthier.evaluation.gate.judged import judge_domain
from luthier.evaluation.gate.ledger import Ledger
from luthier.evaluation.gate.screen import render_page
from luthier.evaluation.judge.asking import Judge
from luthier.evaluation.judge.opening import judge_settings, open_judge
from luthier.evaluation.judge.rubric import default_rubric, load_rubric
from luthier.evaluation.runner import Answerer, EvalResult, save_result
from luthier.files import file_name, write_json_atomic, write_text_atomic
from luthier.hashing import hash_file
from luthier.models.endpoint import is_endpoint
from luthier.models.load import load_model
from luthier.pipeline.contender import Found, find_contender
from luthier.pipeline.gate_sets import VERDICT, Known, SetFiles, choose_files, read_sets
from luthier.pipeline.leaks import find_leaks, training_files
from luthier.pipeline.specialist_report import refresh_report
from luthier.pipeline.specialist_results import keep_gate_results
from luthier.registry.specialist_diff import other_prompt
from luthier.registry.specialists import SpecialistStore

MANY_CANDIDATES = 5
BASE_MARK = "base "
"""Stands before the name of the base in a verdict: it may be the champion too."""
_SERVED = "{} is known by its name alone: another model may answer there tomorrow, under the same hash"


@dataclass(frozen=True)
class GateJob:
    """What is held against what, on which files.

    items: what the candidate is for; golden: what must stay as it is; without them, those that the policy names from
    `policy_folder`, else those of the champion's last verdict, else of the candidate's. others: sets of other
    specialists by name, more of which are known from the store. train, base: where the candidate does not say them.
    system, champion_system: other prompts than the specialists' own. routing: measures what the candidate does to the
    choice between specialists, where it joins others.
    """

    candidate: str
    champion: str
    out: Path
    items: tuple[Path, ...] = ()
    policy: Policy = field(default_factory=Policy)
    policy_folder: Path = Path()
    golden: tuple[Path, ...] = ()
    others: Mapping[str, Path] = field(default_factory=dict)
    ordinary: Path | None = None
    base: str | None = None
    train: tuple[str, ...] = ()
    system: str | None = None
    champion_system: str | None = None
    max_new_tokens: int = 64
    batch_size: int = 32
    dtype: str = "auto"
    store: SpecialistStore | None = None
    routing: Callable[[], RoutingReport] | None = None

    @property
    def asked_with(self) -> dict[str, Any]:
        """What the verdict keeps of how the models were asked."""
        return {
            "max_new_tokens": self.max_new_tokens,
            "batch_size": self.batch_size,
            "dtype": self.dtype,
            "train": list(self.train),
        }


def existing_store() -> SpecialistStore | None:
    """The store of specialists, where there is one already: a gate makes none."""
    from luthier.registry.specialists import default_store, has_default_store

    return default_store() if has_default_store() else None


def run_gate(
    job: GateJob, on_progress: Callable[[str, int, int], None] = lambda what, done, total: None
) -> GateVerdict:
    """The verdict, kept in `job.out`. Raises LuthierError where something named is not there or cannot be read."""
    candidate, champion = (find_contender(ref, job.store) for ref in (job.candidate, job.champion))
    base = job.base or candidate.base
    named = SetFiles(job.items, job.golden, job.others, job.ordinary)
    files = choose_files(named, job.policy, job.policy_folder, job.store, (champion, candidate))
    ledger = Ledger(job.out.parent / "sets.json")
    known = Known(ledger, job.store, (champion, candidate))
    sets, unasked = read_sets(files, known, job.store, (candidate, champion))
    leaks, warnings = leak_evidence(job.train, files.own, candidate)
    num_timed = job.policy.latency.num_questions if job.policy.latency.p95_seconds is not None else 0
    routing = job.routing() if job.routing is not None else None
    keep = partial(_keep, job.out / "answers")
    with _judge(job) as judge:
        evidence = gather(
            contender(candidate, job.system, job.dtype),
            contender(champion, job.champion_system, job.dtype),
            contender(find_contender(base, job.store), None, job.dtype, BASE_MARK) if base else None,
            sets,
            Settings(job.max_new_tokens, job.batch_size, num_timed, keep, on_progress),
            leaks=leaks,
            unasked_others=unasked,
            warnings=[
                *_other_prompt(candidate, job.system),
                *_other_prompt(champion, job.champion_system),
                *(_SERVED.format(one.name) for one in (candidate, champion) if is_endpoint(one.place)),
                *warnings,
                *_many_tries(files, ledger, candidate),
            ],
        )
        evidence = replace(evidence, judged=_judged(judge, job, evidence, sets), routing=routing)
    verdict = replace(evaluate_gate(evidence, job.policy), asked_with=job.asked_with)
    write_json_atomic(job.out / "verdict.json", verdict.to_dict())
    write_text_atomic(job.out / "gate.html", render_page(verdict))
    ledger.note({one.path: one.hash for one in evidence.sets}, verdict.candidate.hash)
    if candidate.specialist is not None and job.store is not None:
        job.store.attach(candidate.specialist, VERDICT, verdict.to_dict())
        keep_gate_results(job.store, candidate.specialist, evidence.sets)
        refresh_report(job.store, candidate.specialist)
    return verdict


@contextmanager
def _judge(job: GateJob) -> Iterator[Judge | None]:
    """The policy's judge, opened before anybody is asked: what is wrong with it is said at once."""
    named = job.policy.judge
    if named is None:
        yield None
        return
    settings = judge_settings(
        temperature=named.temperature,
        repeats=named.repeats,
        max_tokens=named.max_tokens,
        max_attempts=named.max_attempts,
    )
    with open_judge(
        named.model,
        settings,
        lambda ref: load_model(find_contender(ref, job.store).place, dtype=job.dtype),
        cache=Path(named.reports) / "cache.sqlite",
        api_key_variable=named.api_key_variable,
        timeout_seconds=named.timeout_seconds,
        max_concurrency=named.max_concurrency,
    ) as judge:
        yield judge


def _judged(
    judge: Judge | None, job: GateJob, evidence: Evidence, sets: Sequence[ItemSet]
) -> Mapping[str, Judgement]:
    if judge is None or job.policy.judge is None:
        return {}
    rubrics = {
        one.criterion: load_rubric(job.policy_folder / one.rubric) if one.rubric else default_rubric()
        for one in job.policy.judged
    }
    items = {one.path: one.items for one in sets if one.role == "domain"}
    return judge_domain(judge, rubrics, evidence.sets, items, Path(job.policy.judge.reports))


def contender(found: Found, system: str | None, dtype: str, mark: str = "") -> Contender:
    """A model that the gate can open. system: another prompt than its own; mark: before its name."""
    prompt = system if system is not None else found.system_prompt
    name = mark + found.name

    @contextmanager
    def opened() -> Iterator[Answerer]:
        answerer = open_answerer(found.place, name=name, dtype=dtype)
        try:
            yield answerer
        finally:
            answerer.close()

    return Contender(Side(name, found.weights, prompt or None), opened)


def leak_evidence(
    named: Sequence[str], own: Sequence[Path], candidate: Found
) -> tuple[LeakReport | str, list[str]]:
    """The items against the training rows; and a warning where the items chose the candidate's checkpoint."""
    hashes = {hash_file(path): path for path in own}
    warnings = [
        f"{hashes[entry['sha256']]} is a file that the training measured itself on ({entry['role']}): its choice of "
        "checkpoint and of settings may be fitted to it"
        for entry in candidate.data
        if entry.get("role") != "train" and entry.get("sha256") in hashes
    ]
    train = list(named) or training_files(candidate.data)
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


def _many_tries(files: SetFiles, ledger: Ledger, candidate: Found) -> list[str]:
    """Who tries often enough on the same items wins by luck."""
    tried = {path: ledger.num_candidates(str(path.absolute())) for path in files.domain}
    return [
        f"{path} has been asked of {count} candidates before: of so many, the luckiest looks better than it is; keep "
        "items that no candidate has seen for the last decision"
        for path, count in tried.items()
        if count >= MANY_CANDIDATES
    ]


def _other_prompt(found: Found, system: str | None) -> list[str]:
    """A specialist that is asked with another system prompt than its own is another specialist."""
    if found.specialist is None or system is None:
        return []
    told = other_prompt(found.specialist, system)
    return [] if told is None else [told]


def _keep(folder: Path, name: str, one: ItemSet, result: EvalResult) -> None:
    save_result(result, folder / f"{file_name(f'{name}-{one.role}-{one.name}')}.jsonl")
