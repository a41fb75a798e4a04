"""The main job, step by step: check, measure the base, train, evaluate, compare, merge, verify, ask, gate.

Each step keeps its result beside the hash of what it depended on; run again with the same inputs, a finished
step is read back instead of done again, and a training that was stopped continues from its checkpoint.
This file knows nothing of screens: it tells a `Say` what each step found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.chat.messages import Message
from luthier.data.checks import check_files
from luthier.errors import DataError
from luthier.evaluation.answerers.local import ModelAnswerer
from luthier.evaluation.compare import Comparison, compare
from luthier.evaluation.gate import Policy, Word
from luthier.evaluation.gate.screen import summary
from luthier.evaluation.probes import HASHES
from luthier.evaluation.runner import EvalResult, evaluate, load_result, save_result
from luthier.evaluation.task import load_items
from luthier.export.certificate.check import ask, certify
from luthier.export.certificate.forms import FolderForm, Trained
from luthier.export.certificate.probes import from_rows
from luthier.export.merge import merge
from luthier.files import write_json_atomic
from luthier.hashing import hash_file
from luthier.models.generate import Sampling, generate
from luthier.models.load import LoadedModel, load_model
from luthier.pipeline.bundle import bundle_run
from luthier.pipeline.certifying import write_certificate
from luthier.pipeline.gate import GateJob, run_gate
from luthier.pipeline.gate_sets import VERDICT
from luthier.pipeline.identity import model_hash
from luthier.pipeline.run_step import tell_run, train_run
from luthier.pipeline.steps import Say, Steps
from luthier.registry.runs import open_run
from luthier.registry.specialists import PRODUCTION, SpecialistStore
from luthier.training.tracking import Tracker


@dataclass(frozen=True)
class SpecialistJob:
    """What to make: a base, its data, what it is asked, and the prompts that an untuned base would be given.

    `test` is what the specialist is for; `other` is what it must leave alone (other domains, small talk); `ordinary`
    is what it must not refuse, where that is not everything. At the gate (`policy`) the champion is the base with its
    best prompt; `name` is what the specialist is called in the store, which lies in `folder`.
    """

    base: str
    train: Path
    valid: Path
    test: Path
    other: Path
    prompts: Mapping[str, str]
    question: str
    folder: Path
    recipe: Mapping[str, Any] = field(default_factory=dict)
    max_new_tokens: int = 64
    num_probes: int = 40
    name: str = "specialist"
    ordinary: Path | None = None
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True)
class Outcome:
    """What came out: the comparison of base, prompted base and tuned model, and the facts of the run.

    `other` is the same comparison on the questions that are not the specialist's. `gate` is the gate's verdict as JSON
    values, `specialist` the version that it was passed on, `promoted` whether it is in production.
    """

    comparison: Comparison
    other: Comparison
    run: dict[str, Any]
    certificate: dict[str, Any]
    answer: str
    run_folder: Path
    merged_folder: Path
    gate: dict[str, Any]
    specialist: str
    promoted: bool

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values; `outcome.json` in the job's folder holds this."""
        return {
            "comparison": self.comparison.to_dict(),
            "other": self.other.to_dict(),
            "run": self.run,
            "certificate": self.certificate,
            "answer": self.answer,
            "run_folder": str(self.run_folder),
            "merged_folder": str(self.merged_folder),
            "gate": self.gate,
            "specialist": self.specialist,
            "promoted": self.promoted,
        }


def make_specialist(job: SpecialistJob, say: Say, tracker: Tracker) -> Outcome:
    """Run the whole job. Raises DataError where the data check finds errors, NotTheSame where the merge differs."""
    steps, files = Steps(job.folder, say), (job.train, job.valid, job.test, job.other)
    data = {path.stem: hash_file(path) for path in files}
    base = {"model": job.base, "weights": model_hash(job.base)}
    steps.do("check the data", data, lambda: _check(job), lambda found: str(found["line"]))
    asked = {**base, "data": data, "new tokens": job.max_new_tokens}
    measured = steps.do("measure the base", [asked, job.prompts], lambda: _measure_base(job), _tell_base)
    trained = steps.do("train", [base, data, job.recipe], lambda: _train(job, tracker), tell_run)
    run_folder, merged = job.folder / "run", job.folder / "merged"
    weights = model_hash(str(run_folder / "model"))
    tuned = steps.do(
        "evaluate",
        [asked, weights],
        lambda: _evaluate_tuned(job, str(run_folder / "model")),
        lambda found: f"tuned: {found['accuracy']:.1%} of {found['items']} test items",
    )
    comparison, other = (
        compare([load_result(Path(path)) for path in (*measured[key], *tuned[key])])
        for key in ("answers", "others")
    )
    last = comparison.pairs[-1]
    say("compare", f"{last.second} against {last.first}: {last.statement}")
    steps.do(
        "merge", weights, lambda: _merge(run_folder / "model", merged), lambda _: f"plain weights in {merged}"
    )
    certificate = steps.do(
        "verify",
        [weights, data["test"], job.num_probes],
        lambda: _verify(job, run_folder / "model", merged),
        lambda found: f"merged model: {found['line']}",
    )
    answer = _ask(load_model(str(merged)), job.question, job.max_new_tokens)
    say("ask it", f"{job.question} -> {answer}")
    passed = steps.do(
        "gate",
        [asked, weights, measured["best_prompt"], job.prompts, job.policy.hash, job.name, HASHES],
        lambda: _gate(job, measured["best_prompt"], run_folder),
        lambda found: (
            f"{found['line']} ({found['specialist']}{', in production' if found['promoted'] else ''})"
        ),
    )
    gate = passed["verdict"], passed["specialist"], passed["promoted"]
    outcome = Outcome(comparison, other, trained, certificate, answer, run_folder, merged, *gate)
    write_json_atomic(job.folder / "outcome.json", outcome.to_dict())
    return outcome


def _check(job: SpecialistJob) -> dict[str, Any]:
    report = check_files([job.train], job.valid, job.test)
    if report.exit_code(strict=False):
        raise DataError(
            "the data check found errors; see them all: "
            f"luthier data check {job.train} --valid {job.valid} --test {job.test}"
        )
    names = ", ".join(
        f"{found.name} ({found.count})" for found in report.findings if found.severity != "note"
    )
    return {"line": f"{report.word}: " + (names or "no duplicate, no leak between train, valid and test")}


def _answer_and_keep(
    job: SpecialistJob,
    loaded: LoadedModel,
    name: str,
    items: Path,
    system: str | None = None,
    variant: str | None = None,
) -> tuple[EvalResult, str]:
    """Ask every item, keep the answers under `answers/`; returns the result and the file that holds it."""
    result = evaluate(
        ModelAnswerer(loaded, name),
        load_items(items),
        system_prompt=system,
        prompt_variant=variant,
        max_new_tokens=job.max_new_tokens,
    )
    file = (
        job.folder
        / "answers"
        / f"{name}{'-' + variant if variant else ''}-{items.stem}.jsonl".replace(" ", "-")
    )
    save_result(result, file)
    return result, str(file)


def _measure_base(job: SpecialistJob) -> dict[str, Any]:
    """The base on the test items, bare and with the prompt that did best on the validation items."""
    loaded = load_model(job.base)
    bare, bare_file = _answer_and_keep(job, loaded, "base", job.test)
    tried = {
        name: _answer_and_keep(job, loaded, "base", job.valid, text, name)[0].accuracy
        for name, text in job.prompts.items()
    }
    best = max(tried, key=lambda name: tried[name])
    prompted, prompted_file = _answer_and_keep(job, loaded, "base", job.test, job.prompts[best], best)
    others = [
        _answer_and_keep(job, loaded, "base", job.other)[1],
        _answer_and_keep(job, loaded, "base", job.other, job.prompts[best], best)[1],
    ]
    return {
        "accuracy": bare.accuracy,
        "prompted": prompted.accuracy,
        "best_prompt": best,
        "tried_on_valid": tried,
        "answers": [bare_file, prompted_file],
        "others": others,
        "files": [bare_file, prompted_file, *others],
    }


def _tell_base(found: Mapping[str, Any]) -> str:
    return (
        f"base: {found['accuracy']:.1%} of test items; with the best prompt ({found['best_prompt']}): "
        f"{found['prompted']:.1%}"
    )


def _train(job: SpecialistJob, tracker: Tracker) -> dict[str, Any]:
    values = {
        **job.recipe,
        "model": {"name": job.base},
        "data": {**job.recipe.get("data", {}), "train": [str(job.train)], "validation": str(job.valid)},
        "evaluation": {**job.recipe.get("evaluation", {}), "items": str(job.valid)},
    }
    return train_run(job.folder / "run", values, tracker)


def _evaluate_tuned(job: SpecialistJob, model: str) -> dict[str, Any]:
    loaded = load_model(model)
    result, file = _answer_and_keep(job, loaded, "tuned", job.test)
    _, other = _answer_and_keep(job, loaded, "tuned", job.other)
    return {
        "accuracy": result.accuracy,
        "items": len(result.items),
        "answers": [file],
        "others": [other],
        "files": [file, other],
    }


def _merge(model: Path, out: Path) -> dict[str, Any]:
    merge(str(model), out, replace=True)
    return {"files": [str(out)]}


def _verify(job: SpecialistJob, model: Path, merged: Path) -> dict[str, Any]:
    probes = from_rows([list(item.messages) for item in load_items(job.test)[: job.num_probes]])
    asked = ask(Trained(load_model(str(model), dtype="float32")), probes, max_new_tokens=job.max_new_tokens)
    certificate = certify(asked, [lambda _: (FolderForm(merged), {})]).require()
    write_certificate(certificate, merged)
    answers = next(line for line in certificate.forms[0].lines if line.what == "answers")
    return {"line": answers.detail, **certificate.to_dict()}


def _gate(job: SpecialistJob, best_prompt: str, run_folder: Path) -> dict[str, Any]:
    """Keep the run as a specialist, hold it against the base with its best prompt, and promote it where it may ship."""
    store = SpecialistStore(job.folder / "specialists")
    specialist, _ = bundle_run(store, open_run(run_folder), job.name)
    asked = GateJob(
        candidate=str(run_folder),
        champion=job.base,
        items=(job.test,),
        golden=(job.other,),
        ordinary=job.ordinary,
        base=job.base,
        system=specialist.system_prompt,
        champion_system=job.prompts[best_prompt],
        policy=job.policy,
        out=job.folder / "gate" / job.name,
        max_new_tokens=job.max_new_tokens,
    )
    verdict = run_gate(asked)
    store.attach(specialist, VERDICT, verdict.to_dict())
    ships = verdict.word is Word.SHIP
    if ships and store.aliases(job.name).get(PRODUCTION) != specialist.number:
        store.promote(specialist.ref, reason="the gate's verdict")
    return {
        "line": summary(verdict),
        "verdict": verdict.to_dict(),
        "specialist": specialist.ref,
        "promoted": ships,
        "files": [str(asked.out / "verdict.json"), str(job.folder / "specialists" / "store.sqlite")],
    }


def _ask(loaded: LoadedModel, question: str, max_new_tokens: int) -> str:
    prompt = loaded.renderer.prompt([Message("user", question)])
    (ids,) = generate(loaded, [prompt], Sampling(max_new_tokens=max_new_tokens))
    return loaded.renderer.parse(ids).text
