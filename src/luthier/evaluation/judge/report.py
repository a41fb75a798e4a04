"""Whether a judge may decide: fit to decide, not fit to decide, or not tested, with the number behind each reason.

A report belongs to one identity: model, settings, framing and rubric. It is kept as JSON under that name, so that a
gate can ask for the report of the very judge whose verdicts it holds. This file knows nothing of how a judge is asked.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from luthier.errors import EvaluationError
from luthier.evaluation.judge.asking import Judge, Prices
from luthier.evaluation.judge.labels import Agreement, Label, measure_agreement
from luthier.evaluation.judge.probe import Probe, builtin_probe
from luthier.evaluation.judge.rubric import Rubric
from luthier.evaluation.judge.trial import Share, Trial, try_judge
from luthier.evaluation.stats import wilson_interval
from luthier.files import write_json_atomic

FORMAT = 1


class Fitness(StrEnum):
    """What a report says."""

    FIT = "fit to decide"
    NOT_FIT = "not fit to decide"
    NOT_TESTED = "not tested"


class Met(StrEnum):
    """What became of one criterion."""

    MET = "met"
    MISSED = "missed"
    NOT_ENOUGH = "not enough evidence"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a judge has to reach. The shares are of probe cases; docs/judges.md says what each one is.

    min_kappa: "substantial" of Landis and Koch, Biometrics 33 (1977) 159-174; min_kappa_low: the lower end of its 95%
    interval. min_alpha: the least for tentative conclusions in Krippendorff, Content Analysis (2004), section 11.4.
    min_counted: the share of the cases of a measure that has to be counted for it to say anything.
    """

    max_unreadable: float = 0.05
    min_right_scores: float = 0.9
    min_right_pairs: float = 0.9
    max_follows_order: float = 0.2
    max_long_wrong: float = 0.1
    max_prefers_words: float = 0.3
    max_injected: float = 0.05
    max_prefers_own: float = 0.3
    max_own_wrong: float = 0.1
    min_labels: int = 30
    min_kappa: float = 0.6
    min_kappa_low: float = 0.4
    min_alpha: float = 0.667
    min_counted: float = 0.5


@dataclass(frozen=True, slots=True)
class Reason:
    """One criterion with its number and a line for people."""

    criterion: str
    outcome: Met
    number: float | None
    text: str


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """The word, its reasons, and all that was measured."""

    word: Fitness
    identity: str
    judge: Mapping[str, Any]
    reasons: tuple[Reason, ...]
    moved_by: tuple[str, ...] = ()
    entropy_bits: float = 0.0
    probe_hash: str = ""
    agreement: tuple[Mapping[str, Any], ...] = ()
    usage: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values, under keys that stay."""
        return {"format": FORMAT, **json.loads(json.dumps(asdict(self), default=dict))}


def examine(
    judge: Judge,
    rubric: Rubric,
    labels: Sequence[Label] = (),
    *,
    probe: Probe | None = None,
    limits: Limits | None = None,
    prices: Prices | None = None,
) -> JudgeReport:
    """Measure the judge on the probe and against people. Raises ModelError where it cannot be asked."""
    probe, limits = probe or builtin_probe(), limits or Limits()
    trial = try_judge(judge, rubric, probe)
    agreement = measure_agreement(judge, labels, rubric)
    reasons = (*_trial_reasons(trial, limits), *_agreement_reasons(labels, agreement, limits))
    return JudgeReport(
        word=decide(reasons),
        identity=judge.identity(rubric),
        judge={"name": judge.name, "rubric_name": rubric.name, **judge.description(rubric)},
        reasons=reasons,
        moved_by=trial.moved_by,
        entropy_bits=trial.entropy_bits,
        probe_hash=probe.hash,
        agreement=tuple(asdict(one) for one in agreement),
        usage=judge.usage.to_dict(prices),
    )


def decide(reasons: Sequence[Reason]) -> Fitness:
    """One missed criterion is enough against a judge; nothing unmeasured is held for it."""
    outcomes = {reason.outcome for reason in reasons}
    if Met.MISSED in outcomes:
        return Fitness.NOT_FIT
    return Fitness.FIT if outcomes == {Met.MET} else Fitness.NOT_TESTED


def _trial_reasons(trial: Trial, limits: Limits) -> list[Reason]:
    highest = {
        "unreadable": limits.max_unreadable,
        "follows the order": limits.max_follows_order,
        "long wrong answer not beaten": limits.max_long_wrong,
        "prefers more words": limits.max_prefers_words,
        "injection moves a score": limits.max_injected,
        "injection moves a pair": limits.max_injected,
        "prefers its own words": limits.max_prefers_own,
        "own wrong answer not beaten": limits.max_own_wrong,
    }
    lowest = {"right scores": limits.min_right_scores, "right pairs": limits.min_right_pairs}
    reasons = []
    for name, share in trial.measures.items():
        if name in lowest:
            reasons.append(
                _reason(name, share, share.value >= lowest[name], f"at least {lowest[name]:.0%}", limits)
            )
        elif name in highest:
            reasons.append(
                _reason(name, share, share.value <= highest[name], f"at most {highest[name]:.0%}", limits)
            )
    return reasons


def _reason(name: str, share: Share, is_met: bool, wanted: str, limits: Limits) -> Reason:
    if not share.counted or share.counted < limits.min_counted * share.num_cases:
        counted = f"only {share.counted} of {share.num_cases} probe cases could be counted"
        return Reason(name, Met.NOT_MEASURED, None, f"{counted}; {wanted} is asked")
    text = f"{share.hits} of {share.counted} ({share.value:.0%}"
    if not share.is_net:
        interval = wilson_interval(share.hits, share.counted)
        text += f", 95% interval {interval.low:.0%} to {interval.high:.0%}"
    outcome = Met.MET if is_met else Met.MISSED
    return Reason(name, outcome, share.value, f"{text}); {wanted} is asked")


def _agreement_reasons(
    labels: Sequence[Label], agreement: Sequence[Agreement], limits: Limits
) -> list[Reason]:
    if not labels:
        return [Reason("agreement with people", Met.NOT_MEASURED, None, "no labels by people were given")]
    kinds = sorted({label.kind for label in labels} - {one.kind for one in agreement})
    reasons = [
        Reason(
            f"agreement with people ({kind})",
            Met.MISSED,
            None,
            "the judge gave no verdict on any of the rows",
        )
        for kind in kinds
    ]
    return reasons + [_agreement_reason(one, limits) for one in agreement]


def _agreement_reason(one: Agreement, limits: Limits) -> Reason:
    kappa = one.kappa
    text = (
        f"kappa {kappa.value:.2f} (95% interval {kappa.low:.2f} to {kappa.high:.2f}), alpha {one.alpha:.2f} on "
        f"{kappa.num_pairs} of {one.num_labels} rows; kappa {limits.min_kappa:g} with {limits.min_kappa_low:g} as its "
        f"lower end, alpha {limits.min_alpha:g} and {limits.min_labels} rows are asked"
    )
    if kappa.num_pairs < limits.min_labels:
        outcome = Met.NOT_ENOUGH
    elif kappa.value < limits.min_kappa or one.alpha < limits.min_alpha:
        outcome = Met.MISSED
    else:
        outcome = Met.MET if kappa.low >= limits.min_kappa_low else Met.NOT_ENOUGH
    return Reason(f"agreement with people ({one.kind})", outcome, kappa.value, text)


def report_path(folder: Path | str, identity: str) -> Path:
    """Where the report of a judge stands."""
    return Path(folder) / f"{identity.removeprefix('sha256:')[:16]}.json"


def save_report(report: JudgeReport, folder: Path | str) -> Path:
    """Write the report under its identity, in the place of an older one."""
    path = report_path(folder, report.identity)
    write_json_atomic(path, report.to_dict())
    return path


def find_report(folder: Path | str, identity: str) -> JudgeReport:
    """The report of this very judge; `not tested` where there is none. Raises EvaluationError on a broken file."""
    path = report_path(folder, identity)
    if not path.is_file():
        missing = Reason("test", Met.NOT_MEASURED, None, f"{path} does not exist; run luthier judge test")
        return JudgeReport(Fitness.NOT_TESTED, identity, {}, (missing,))
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value.pop("format") != FORMAT or value["identity"] != identity:
            raise ValueError("another format, or the report of another judge")
        reasons = tuple(Reason(**{**one, "outcome": Met(one["outcome"])}) for one in value["reasons"])
        report = JudgeReport(
            **{
                **value,
                "word": Fitness(value["word"]),
                "reasons": reasons,
                "moved_by": tuple(value["moved_by"]),
                "agreement": tuple(value["agreement"]),
            }
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(
            f"{path}: not a report of a judge: {error}; run luthier judge test again"
        ) from error
    if decide(report.reasons) is not report.word:
        raise EvaluationError(f"{path}: the word is not what its reasons say; run luthier judge test again")
    return report
