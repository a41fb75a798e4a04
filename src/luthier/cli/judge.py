"""`luthier judge`: a language model scores answers, compares them in pairs, and is itself tested."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, load, print_json

if TYPE_CHECKING:
    from luthier.evaluation.judge.asking import Judge, Prices, Usage
    from luthier.evaluation.judge.report import JudgeReport
    from luthier.evaluation.judge.results import JudgedPairs
    from luthier.evaluation.judge.rubric import Rubric
    from luthier.evaluation.judge.scoring import Scored

app = typer.Typer(name="judge", help="A language model as judge, and what it is worth.", no_args_is_help=True)

JudgeRef = Annotated[
    str, typer.Option("--judge", help="URL#MODEL of an OpenAI-compatible API, or a model, run or folder.")
]
RubricFile = Annotated[Path | None, typer.Option(help="A rubric (YAML); without it, the one that ships.")]
Repeats = Annotated[int, typer.Option(min=1, help="How often each case is judged.")]
Temperature = Annotated[
    float | None, typer.Option(help="Without it: 0 for one repeat, 0.7 for several, so that they differ.")
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest reply of the judge, in tokens.")]
Attempts = Annotated[int, typer.Option(min=1, help="How often until a reply can be read.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests to a URL at once.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for one reply of a URL.")]
KeyVariable = Annotated[
    str | None, typer.Option(help="The environment variable that holds the key of the URL.")
]
PriceIn = Annotated[float | None, typer.Option(min=0, help="Price of 1M prompt tokens.")]
PriceOut = Annotated[float | None, typer.Option(min=0, help="Price of 1M reply tokens.")]
CacheFile = Annotated[Path, typer.Option(help="Where replies are kept (SQLite).")]
Items = Annotated[
    Path | None, typer.Option(help="The items that were asked: their words and gold answers reach the judge.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_CACHE = Path("judges/cache.sqlite")
_STYLES = {
    "met": "green",
    "fit to decide": "bold green",
    "better": "bold green",
    "missed": "red",
    "not fit to decide": "bold red",
    "worse": "bold red",
}


@app.callback()
def _group() -> None:
    pass


@app.command()
def score(
    answers: Annotated[Path, typer.Argument(help="Answers of luthier eval, or rows of question and answer.")],
    judge: JudgeRef,
    rubric: RubricFile = None,
    items: Items = None,
    out: Annotated[Path, typer.Option(help="Where verdicts are kept.")] = Path("evaluations"),
    repeats: Repeats = 1,
    temperature: Temperature = None,
    max_tokens: MaxTokens = 1024,
    attempts: Attempts = 3,
    concurrency: Concurrency = 4,
    timeout: Timeout = 60.0,
    api_key_variable: KeyVariable = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    cache: CacheFile = _CACHE,
    json: Json = False,
) -> None:
    """Score every answer by a rubric, 1 to 5 per criterion."""
    from luthier.evaluation.judge.answers import read_answers
    from luthier.evaluation.judge.results import judge_result, scored_dict
    from luthier.evaluation.judge.scoring import score as score_cases
    from luthier.evaluation.runner import save_result
    from luthier.files import write_json_atomic

    chosen, prices = _rubric(rubric), _prices(price_in, price_out)
    read = read_answers(answers, items)
    settings = (repeats, temperature, max_tokens, attempts)
    with _judge(judge, settings, concurrency, timeout, api_key_variable, cache) as one:
        if read.result is not None:
            judged = judge_result(read.result, chosen, one, read.items)
            scored: list[Scored] = list(judged.scored)
            save_result(judged.result, out / f"{answers.stem}-judged-{chosen.name}.jsonl")
        else:
            scored = score_cases(one, read.cases, chosen)
        said = {"identity": one.identity(chosen), "judge": one.description(chosen), **scored_dict(scored)}
        said["usage"] = one.usage.to_dict(prices)
    path = out / f"{answers.stem}-judged-{chosen.name}.judge.json"
    write_json_atomic(path, said)
    if json:
        print_json({**said, "kept": str(path)})
    else:
        _print_scored(scored, chosen, said, path)
    _refuse_without_verdict(judge, scored)


@app.command()
def pair(
    first: Annotated[Path, typer.Argument(help="Answers, as for luthier judge score.")],
    second: Annotated[Path, typer.Argument(help="Answers to the same questions.")],
    judge: JudgeRef,
    rubric: RubricFile = None,
    items: Items = None,
    repeats: Repeats = 1,
    temperature: Temperature = None,
    max_tokens: MaxTokens = 1024,
    attempts: Attempts = 3,
    concurrency: Concurrency = 4,
    timeout: Timeout = 60.0,
    api_key_variable: KeyVariable = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    cache: CacheFile = _CACHE,
    json: Json = False,
) -> None:
    """Which of two sets of answers is better, question by question, each asked in both orders."""
    from luthier.evaluation.judge.answers import read_answers
    from luthier.evaluation.judge.results import pair_cases, pair_results

    chosen, prices = _rubric(rubric), _prices(price_in, price_out)
    one_read, other_read = read_answers(first, items), read_answers(second, items)
    settings = (repeats, temperature, max_tokens, attempts)
    with _judge(judge, settings, concurrency, timeout, api_key_variable, cache) as one:
        if one_read.result is not None and other_read.result is not None:
            pairs = pair_results(one_read.result, other_read.result, chosen, one, one_read.items)
        else:
            labels = (str(first), str(second))
            pairs = pair_cases(one_read.cases, other_read.cases, chosen, one, labels=labels)
        usage = one.usage.to_dict(prices)
    if json:
        print_json({**pairs.to_dict(), "usage": usage})
    else:
        _print_pairs(pairs, usage)


@app.command()
def test(
    judge: JudgeRef,
    rubric: RubricFile = None,
    labels: Annotated[
        Path | None, typer.Option(help="What people said of answers (JSONL): without it, no judge is fit.")
    ] = None,
    reports: Annotated[Path, typer.Option(help="Where reports are kept, by judge.")] = Path("judges"),
    repeats: Repeats = 1,
    temperature: Temperature = None,
    max_tokens: MaxTokens = 1024,
    attempts: Attempts = 3,
    concurrency: Concurrency = 4,
    timeout: Timeout = 60.0,
    api_key_variable: KeyVariable = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    cache: CacheFile = _CACHE,
    json: Json = False,
) -> None:
    """Is this judge fit to decide? Biases, injections and agreement with people; exit with 1 unless it is fit."""
    from luthier.evaluation.judge.labels import load_labels
    from luthier.evaluation.judge.report import Fitness, examine, save_report

    chosen, prices = _rubric(rubric), _prices(price_in, price_out)
    said = load_labels(labels) if labels is not None else []
    settings = (repeats, temperature, max_tokens, attempts)
    with _judge(judge, settings, concurrency, timeout, api_key_variable, cache) as one:
        report = examine(one, chosen, said, prices=prices)
    path = save_report(report, reports)
    if json:
        print_json({**report.to_dict(), "kept": str(path)})
    else:
        _print_report(report, path)
    if report.word is not Fitness.FIT:
        raise typer.Exit(1)


@contextmanager
def _judge(
    ref: str,
    settings: tuple[int, float | None, int, int],
    concurrency: int,
    timeout: float,
    api_key_variable: str | None,
    cache: Path,
) -> Iterator["Judge"]:
    """The judge that the options name, with a line on stderr that counts its replies."""
    from luthier.evaluation.judge.opening import judge_settings, open_judge

    repeats, temperature, max_tokens, attempts = settings
    asked = judge_settings(
        temperature=temperature, repeats=repeats, max_tokens=max_tokens, max_attempts=attempts
    )
    with console(stderr=True).status(f"{ref}: waiting for the first reply") as status:

        def show(used: "Usage") -> None:
            status.update(f"{ref}: {used.num_asked} replies, {used.num_cached} from the cache")

        with open_judge(
            ref,
            asked,
            load,
            cache=cache,
            api_key_variable=api_key_variable,
            timeout_seconds=timeout,
            max_concurrency=concurrency,
            on_reply=show,
        ) as one:
            yield one


def _rubric(path: Path | None) -> "Rubric":
    from luthier.evaluation.judge.rubric import default_rubric, load_rubric

    return default_rubric() if path is None else load_rubric(path)


def _prices(price_in: float | None, price_out: float | None) -> "Prices | None":
    from luthier.evaluation.judge.asking import Prices

    if price_in is None and price_out is None:
        return None
    return Prices(price_in or 0.0, price_out or 0.0)


def _print_scored(scored: "list[Scored]", rubric: "Rubric", said: dict[str, Any], path: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from luthier.evaluation.judge.asking import Outcome

    names = [criterion.name for criterion in rubric.criteria]
    table = Table("id", *names, "mean", "", "why", box=None)
    for one in scored:
        word = ("passed" if one.passed else "failed") if one.outcome is Outcome.JUDGED else one.outcome.value
        flag = " (makes something up)" if one.hallucination else ""
        cells = [f"{one.by_criterion[name]:g}" if one.by_criterion else "" for name in names]
        mean = f"{one.mean:.2f}" if one.by_criterion else ""
        table.add_row(Text(one.id), *cells, mean, word + flag, Text(one.reason))
    screen = console()
    screen.print(table)
    words = {"passed": said["num_passed"], **said["outcomes"]}
    counts = ", ".join(f"{count} {word}" for word, count in words.items() if count or word == "passed")
    mean = f", mean {said['mean']:.2f}" if said["mean"] is not None else ""
    screen.print(f"\n{len(scored)} answers: {counts}{mean}")
    if said["repeats"] is not None:
        low, high = said["repeats"]["interval"]["low"], said["repeats"]["interval"]["high"]
        share = said["repeats"]["judge_share"]
        screen.print(
            f"mean score {low:.2f} to {high:.2f} of 1 (95%); {share:.0%} of its variance is the judge's"
        )
    screen.print(_usage_line(said["usage"]))
    screen.print(f"verdicts: {path}", soft_wrap=True)


def _refuse_without_verdict(judge: str, scored: "Sequence[Scored]") -> None:
    from luthier.errors import EvaluationError
    from luthier.evaluation.judge.asking import Outcome

    asked = [one for one in scored if one.outcome is not Outcome.DEGENERATE]
    if asked and all(one.outcome is not Outcome.JUDGED for one in asked):
        raise EvaluationError(
            f"{judge} gave no verdict on any of {len(asked)} answers; the first: {asked[0].reason}"
        )


def _print_pairs(pairs: "JudgedPairs", usage: dict[str, Any]) -> None:
    from rich.text import Text

    screen = console()
    low, high = pairs.interval.low, pairs.interval.high
    line = Text(f"{pairs.second} against {pairs.first}: ")
    screen.print(line + Text(pairs.verdict.value, style=_STYLES.get(pairs.verdict.value, "yellow")))
    screen.print(
        f"{pairs.wins} won, {pairs.losses} lost, {pairs.ties} ties, {pairs.num_left_out} without a verdict; "
        f"difference {pairs.difference:+.1%} ({low:+.1%} to {high:+.1%}), p {pairs.p_value:.2g}"
    )
    screen.print(f"{pairs.num_follow_order} verdicts followed the order of the answers: they count as ties")
    screen.print(_usage_line(usage))


def _print_report(report: "JudgeReport", path: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("criterion", "", "number", box=None)
    for reason in report.reasons:
        word = Text(reason.outcome.value, style=_STYLES.get(reason.outcome.value, "yellow"))
        table.add_row(reason.criterion, word, reason.text)
    screen = console()
    screen.print(table)
    if report.moved_by:
        screen.print(f"moved by: {', '.join(report.moved_by)}")
    screen.print(_usage_line(dict(report.usage or {})))
    style = _STYLES.get(report.word.value, "bold yellow")
    screen.print(Text(f"{report.judge['name']}: ") + Text(report.word.value, style=style))
    screen.print(f"report: {path}", soft_wrap=True)


def _usage_line(usage: dict[str, Any]) -> str:
    line = (
        f"{usage['num_asked']} replies asked for, {usage['num_cached']} from the cache, "
        f"{usage['num_malformed']} could not be read; {usage['num_prompt_tokens']} tokens in, {usage['num_tokens']} out"
    )
    if usage["num_uncounted"]:
        line += f" ({usage['num_uncounted']} replies came without a count)"
    return line + (f"; cost {usage['cost']:.6g}" if "cost" in usage else "")
