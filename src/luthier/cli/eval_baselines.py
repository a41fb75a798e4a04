"""`luthier eval baselines`: what prompts alone reach, and whether training was worth it.

Imports nothing heavy at its top.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.common import console, print_json, quiet_libraries, read_text_option
from luthier.files import file_name

if TYPE_CHECKING:
    from luthier.chat.messages import Conversation
    from luthier.cli.eval_models import Opening
    from luthier.cli.eval_tasks import Manner
    from luthier.evaluation.answerers.opening import OpenedAnswerer
    from luthier.evaluation.baselines import Baseline, Worth
    from luthier.evaluation.lookup import Lookup
    from luthier.evaluation.runner import EvalResult
    from luthier.evaluation.store import EvalStore
    from luthier.evaluation.tasks.definition import Task

Files = list[Path] | None
_STYLES = {"train": "bold green", "do not train": "bold red", "not enough evidence": "yellow"}


def baselines(
    model: Annotated[
        str, typer.Argument(help="What was trained: a run, an adapter, a specialist; or a base.")
    ],
    task: Annotated[Path, typer.Option(help="A task (YAML).")],
    base: Annotated[str | None, typer.Option(help="The base, where MODEL does not say it.")] = None,
    train: Annotated[Files, typer.Option(help="Training files for the examples. Default: the run's.")] = None,
    documents: Annotated[
        Files, typer.Option(help="Documents to look things up in. Default: the run's.")
    ] = None,
    system: Annotated[
        list[str] | None, typer.Option(help="A system prompt to try, or @FILE; may be given several times.")
    ] = None,
    shots: Annotated[int, typer.Option(min=0, help="Examples before the question.")] = 4,
    passages: Annotated[int, typer.Option(min=1, help="Passages before the question.")] = 3,
    margin: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="A baseline so much worse is still as good.")
    ] = 0.05,
    out: Annotated[Path, typer.Option(help="Where every prompt, answer and verdict is kept.")] = Path(
        "evaluations"
    ),
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions asked at once.")] = 32,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16; of local models.")] = "auto",
    unsafe_execution: Annotated[
        bool, typer.Option("--unsafe-execution", help="Run answers of code tasks where no wall holds.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Zero-shot, few-shot, other prompts, retrieval: is the trained model better than all of them?"""
    from luthier.cli import eval_tasks
    from luthier.cli.eval_models import Opening, system_prompt
    from luthier.evaluation.baselines import worth
    from luthier.evaluation.store import EvalStore

    quiet_libraries()
    asked = eval_tasks.read(task, unsafe_execution=unsafe_execution)
    known = _known(model, base, train)
    materials = _Materials.read(known.train, documents, shots)
    prompts = [text for text in map(read_text_option, system or ()) if text is not None]
    ways, notes = materials.ways(asked, prompts, shots, passages)
    manner = eval_tasks.Manner(None, max_new_tokens, batch_size)
    asker = _Asker(asked, manner, Opening(dtype), EvalStore(out), out)
    results = asker.base(known.base, ways, notes)
    verdict = None
    if known.is_trained:
        own = replace(manner, system=system_prompt(model, None, asked.generation.system))
        results.append(asker.trained(model, own))
        verdict = worth(results[:-1], results[-1], margin=margin)
    _tell(asked, results, verdict, notes, json)


@dataclass(frozen=True)
class _Known:
    base: str
    is_trained: bool
    train: list[str]


def _known(model: str, base: str | None, train: Files) -> _Known:
    """The base and the training files, as given or as the model says."""
    from luthier.models.endpoint import is_endpoint
    from luthier.pipeline.contender import find_contender
    from luthier.pipeline.gate import existing_store
    from luthier.pipeline.leaks import training_files

    given = [str(path) for path in train or ()]
    if is_endpoint(model) or model.lower().endswith(".gguf"):
        return _Known(base or model, base is not None, given)
    found = find_contender(model, existing_store())
    before = base or found.base
    if not given and found.data:
        files = training_files(found.data)
        given = files if isinstance(files, list) else []
    return _Known(before or model, before is not None and before != model, given)


@dataclass(frozen=True)
class _Materials:
    """What the prompts may show."""

    examples: "list[Conversation]"
    lookup: "Lookup | None"

    @classmethod
    def read(cls, train: list[str], documents: Files, shots: int) -> "_Materials":
        from luthier.evaluation.lookup import Lookup
        from luthier.evaluation.tasks.perplexity import load_documents
        from luthier.pipeline.examples import read_examples

        examples, texts = read_examples(train) if train else ([], [])
        if documents:
            texts = [one.text for path in documents for one in load_documents(path)]
        return cls(examples, Lookup(texts) if texts else None)

    def ways(
        self, task: "Task", prompts: list[str], shots: int, passages: int
    ) -> "tuple[list[Baseline], list[str]]":
        """The baselines, and what could not be made."""
        from luthier.evaluation.baselines import Baseline, choose_examples

        own = task.generation.system
        ways = [Baseline("zero-shot", own)]
        ways += [Baseline(f"prompt {number}", text) for number, text in enumerate(prompts, start=1)]
        notes = []
        if shots and self.examples:
            ways.append(Baseline(f"{shots}-shot", own, choose_examples(self.examples, task.items, shots)))
        elif shots:
            notes.append("no few-shot baseline: no training rows are known; give --train FILE")
        if self.lookup is not None:
            ways.append(Baseline(f"retrieval of {passages}", own, lookup=self.lookup, num_passages=passages))
        return ways, notes


@dataclass(frozen=True)
class _Asker:
    task: "Task"
    manner: "Manner"
    opening: "Opening"
    store: "EvalStore"
    out: Path

    def base(self, ref: str, ways: "list[Baseline]", notes: list[str]) -> "list[EvalResult]":
        """Each way that fits into the model's context; the others are told in `notes`."""
        from luthier.cli.eval_models import opened
        from luthier.errors import ModelError

        results = []
        with opened(ref, self.opening) as answerer:
            for way in ways:
                manner = replace(self.manner, system=way.system_prompt, baseline=way)
                try:
                    results.append(self._ask(answerer, manner))
                except ModelError as error:
                    if not way.few_shot and way.lookup is None:
                        raise
                    notes.append(f"no {way.name} baseline: {error}")
        return results

    def trained(self, ref: str, manner: "Manner") -> "EvalResult":
        from luthier.cli.eval_models import opened

        with opened(ref, self.opening) as answerer:
            return self._ask(answerer, manner)

    def _ask(self, answerer: "OpenedAnswerer", manner: "Manner") -> "EvalResult":
        from luthier.cli import eval_tasks
        from luthier.evaluation.runner import save_result

        result = eval_tasks.ask(answerer, self.task, manner, self.store)
        save_result(result, self.out / f"{file_name(result.label)}-{self.task.name}.jsonl")
        return result


def _tell(
    task: "Task", results: "list[EvalResult]", verdict: "Worth | None", notes: list[str], as_json: bool
) -> None:
    from luthier.cli import eval_tasks
    from luthier.evaluation.tasks.scores import score

    scored = [score(task.items, task.graders, result) for result in results]
    if as_json:
        rows: list[dict[str, Any]] = [
            {**result.summary(), "label": result.label, "graders": [one.to_dict() for one in figures]}
            for result, figures in zip(results, scored, strict=True)
        ]
        told = verdict.to_dict() if verdict is not None else None
        print_json({"task": task.name, "results": rows, "verdict": told, "notes": notes})
        return
    screen = console()
    screen.print(eval_tasks.side_by_side(task, results, scored, verdict.pairs if verdict else ()))
    for note in notes:
        screen.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    if verdict is not None:
        screen.print(
            f"{verdict.word}: {verdict.reason}", style=_STYLES[verdict.word], markup=False, soft_wrap=True
        )
