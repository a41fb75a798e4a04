"""From the files that a recipe names to rows of tokens.

Chat rows are rendered, documents (`{"text": ...}`) are cut into pieces. A file may hold both: plain text among chat
rows keeps a model's general language while it learns to answer. Preferences and labelled answers become
units. Knows nothing of models, steps or runs.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from luthier.chat.messages import Conversation
from luthier.chat.render import Renderer
from luthier.data.dataset import TokenDataset, chat_dataset, join_datasets, text_dataset
from luthier.data.example import Example, Kind
from luthier.data.formats import FileFormat, read_example, recognise_file, to_conversation
from luthier.data.places import resolve_place
from luthier.data.preferences import PairTooLong, comparison_dataset, feedback_dataset, pair_dataset
from luthier.data.rows import Row
from luthier.data.sources import read_rows
from luthier.data.split import hold_out
from luthier.data.targets import supervised_tokens
from luthier.errors import ConfigError, DataError
from luthier.training.objective_config import CptObjective, SftObjective
from luthier.training.objectives import Objective, RowKind, make_objective
from luthier.training.recipe import DataConfig, Recipe


@dataclass(frozen=True)
class _Rows:
    """Rows that were read, their fields renamed, what each file was recognised as and how many rows it has."""

    rows: list[Row]
    formats: dict[str, FileFormat]
    num_rows: dict[str, int]

    def format(self, row: Row) -> str | None:
        return self.formats[row.file].of(row.value)


def read_datasets(
    recipe: Recipe,
    objective: Objective,
    renderer: Renderer,
    tokenizer: Any,
    count: Callable[[str, int], None] = lambda file, num_rows: None,
) -> tuple[TokenDataset, TokenDataset | None]:
    """(training rows, validation rows or None), as tokens. `count` hears of each file how many rows it has.

    Raises DataError or TemplateError with file and line, ConfigError where the recipe asks for what the data has not.
    """
    train = _read(recipe.data.train, "train", recipe.data)
    held_out: _Rows | None = None
    if recipe.data.validation is not None:
        held_out = _read([recipe.data.validation], "valid", recipe.data)
    elif recipe.data.validation_share > 0:
        kept, held = hold_out(train.rows, recipe.data.validation_share, train.format)
        train, held_out = (_Rows(some, train.formats, train.num_rows) for some in (kept, held))
    for read in (train, held_out):
        for file, num_rows in (read.num_rows if read is not None else {}).items():
            count(file, num_rows)
    dataset = _tokens(train, recipe, objective, renderer, tokenizer)
    if dataset.num_supervised == 0:
        raise DataError(
            f"{', '.join(recipe.data.train)}: no token is supervised, so there is nothing to learn"
        )
    _refuse_smoothed_answers(recipe, dataset)
    if recipe.evaluation.patience and held_out is None:
        raise ConfigError(
            "evaluation.patience stops by the validation loss, but nothing is held out: set data.validation or "
            "data.validation_share"
        )
    return dataset, _tokens(held_out, recipe, objective, renderer, tokenizer) if held_out else None


def _refuse_smoothed_answers(recipe: Recipe, dataset: TokenDataset) -> None:
    smoothed = isinstance(recipe.objective, SftObjective | CptObjective) and recipe.objective.label_smoothing
    predicted = dataset.num_tokens - dataset.num_rows
    if smoothed and len(supervised_tokens(dataset)) < predicted:
        raise ConfigError(
            f"objective.label_smoothing: {predicted - dataset.num_supervised:,} of {predicted:,} tokens are context "
            "and carry no loss. Smoothing would fall on the answers alone, and there also on the token that ends them: "
            "the model would be taught to doubt where to stop and how to write a name or a number, with no other text "
            "to make up for it. Set it to 0, or learn every token (objective cpt)"
        )


def read_general_rows(recipe: Recipe, renderer: Renderer, tokenizer: Any) -> TokenDataset | None:
    """The rows of `train.ewc`, or None: a random sample of conversations, or documents where the file holds no other.

    Raises DataError or TemplateError with file and line.
    """
    config = recipe.train.ewc
    if config is None:
        return None
    read = _read([config.rows], "train", recipe.data)
    kept = sorted(
        random.Random(recipe.train.seed).sample(range(len(read.rows)), min(config.num_rows, len(read.rows)))
    )
    some = _Rows([read.rows[index] for index in kept], read.formats, read.num_rows)
    every_one = all(some.format(row) == "text" for row in some.rows)
    return (_documents if every_one else _turns)(some, recipe, renderer, tokenizer)


def training_conversations(recipe: Recipe) -> Iterator[tuple[str, Conversation]]:
    """(place, conversation) of every chat row of the training files; none where the objective learns from others."""
    if make_objective(recipe.objective).rows != "chat":
        return
    read = _read(recipe.data.train, "train", recipe.data)
    yield from _conversations([row for row in read.rows if read.format(row) != "text"], read)


def _read(places: Iterable[str], split: str, config: DataConfig) -> _Rows:
    """The rows of some files (each place may be several: a folder, a dataset version)."""
    by_file: dict[str, list[Row]] = {}
    for place in places:
        for path in resolve_place(place, split):
            for row in read_rows(path):
                by_file.setdefault(row.file, []).append(row)
    formats = {
        file: recognise_file((row.value for row in rows), format=config.format, fields=config.fields)
        for file, rows in by_file.items()
    }
    renamed = [
        replace(row, value=formats[row.file].rename(row.value)) for rows in by_file.values() for row in rows
    ]
    return _Rows(renamed, formats, {file: len(rows) for file, rows in by_file.items()})


def _tokens(
    read: _Rows, recipe: Recipe, objective: Objective, renderer: Renderer, tokenizer: Any
) -> TokenDataset:
    return _READERS[objective.rows](read, recipe, renderer, tokenizer)


def _documents(read: _Rows, recipe: Recipe, renderer: Renderer, tokenizer: Any) -> TokenDataset:
    return text_dataset(read.rows, tokenizer, max_length=recipe.data.max_length)


def _turns(read: _Rows, recipe: Recipe, renderer: Renderer, tokenizer: Any) -> TokenDataset:
    documents = [row for row in read.rows if read.format(row) == "text"]
    if len(documents) == len(read.rows):
        raise DataError(
            f"{documents[0].where}: every row is a document (field text), and no row has an answer to learn; "
            "to learn documents, set objective to cpt"
        )
    turns = [row for row in read.rows if read.format(row) != "text"]
    chat = chat_dataset(
        _conversations(turns, read),
        renderer,
        max_length=recipe.data.max_length,
        too_long=recipe.data.too_long,
        overlap=recipe.data.overlap_tokens,
    )
    if not documents:
        return chat
    return join_datasets(chat, text_dataset(documents, tokenizer, max_length=recipe.data.max_length))


def _pairs(read: _Rows, recipe: Recipe, renderer: Renderer, tokenizer: Any) -> TokenDataset:
    examples = _examples(read, "preference", recipe.objective.name)
    return pair_dataset(examples, renderer, max_length=recipe.data.max_length, too_long=_whole_or_not(recipe))


def _comparisons(read: _Rows, recipe: Recipe, renderer: Renderer, tokenizer: Any) -> TokenDataset:
    examples = _examples(read, "preference", recipe.objective.name)
    return comparison_dataset(
        examples, renderer, max_length=recipe.data.max_length, too_long=_whole_or_not(recipe)
    )


def _labelled(read: _Rows, recipe: Recipe, renderer: Renderer, tokenizer: Any) -> TokenDataset:
    examples = _examples(read, "feedback", recipe.objective.name)
    return feedback_dataset(
        examples, renderer, max_length=recipe.data.max_length, too_long=_whole_or_not(recipe)
    )


_Reader = Callable[[_Rows, Recipe, Renderer, Any], TokenDataset]
_READERS: dict[RowKind, _Reader] = {
    "chat": _turns,
    "text": _documents,
    "preference": _pairs,
    "feedback": _labelled,
    "comparison": _comparisons,
}
_NEEDED: dict[Kind, str] = {
    "preference": "a chosen and a rejected answer to the same turns (fields prompt, chosen, rejected)",
    "feedback": "an answer and whether it is good (fields prompt, completion, label)",
}


def _whole_or_not(recipe: Recipe) -> PairTooLong:
    return "drop" if recipe.data.too_long == "drop" else "error"  # the recipe allows no other


def _examples(read: _Rows, kind: Kind, objective: str) -> Iterator[tuple[str, Example]]:
    for row in read.rows:
        name, example = read_example(row.value, where=row.where, format=read.format(row))
        if example.kind != kind:
            raise DataError(
                f"{row.where}: this row ({name}) is of the kind {example.kind}; {objective} learns from rows with "
                f"{_NEEDED[kind]}. {_other_objective(example.kind)}"
            )
        yield row.where, example


def _other_objective(kind: Kind) -> str:
    fitting = {"preference": "dpo, orpo, simpo or reward", "feedback": "kto", "text": "cpt"}.get(kind, "sft")
    return f"For rows such as this one, set objective to {fitting}"


def _conversations(rows: Sequence[Row], read: _Rows) -> Iterator[tuple[str, Conversation]]:
    for row in rows:
        yield row.where, to_conversation(row.value, where=row.where, format=read.format(row))
