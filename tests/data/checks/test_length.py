"""Lengths: what is counted is what training would see, and a long row is told with what each policy would lose."""

from functools import partial
from typing import Any

import pytest

from luthier.chat.render import Renderer
from luthier.data.checks.length import CharacterLengths, TokenLengths
from luthier.data.dataset import chat_dataset
from luthier.data.formats import to_conversation
from luthier.data.truncate import SHORTENINGS
from tests.data.checks.toys import assert_merges, find, run
from tests.toy import byte_tokenizer


def open_renderer(family: str = "chatml") -> Renderer:
    return Renderer(byte_tokenizer(family))


def pair(asked: str, answered: str) -> dict[str, Any]:
    return {"prompt": asked, "completion": answered}


ROWS = [pair(f"How wide is field {n}?", f"It is {n} m wide.") for n in range(40)]
LONG = [
    pair("How long? " * 60, "122 m."),  # over, its answer short
    pair("How long?", "122 metres " * 60),  # over, its answer long
]
measured = partial(run, TokenLengths, open_renderer=open_renderer, max_length=100, batch_size=4)


def test_short_rows_say_nothing_and_give_figures() -> None:
    findings, figures = measured(ROWS)
    assert findings == []
    tokens = figures["tokens"]["train"]
    dataset = chat_dataset(
        [(str(n), to_conversation(row, where="")) for n, row in enumerate(ROWS)],
        open_renderer(),
        max_length=100,
    )
    assert tokens["total"] == dataset.num_tokens
    assert tokens["row"]["max"] == dataset.lengths().max()
    assert tokens["supervised_share"] == round(dataset.num_supervised / dataset.num_tokens, 4)
    assert sum(one["count"] for one in tokens["histogram"]) == len(ROWS)
    assert tokens["packing"]["tokens"] == dataset.num_tokens <= tokens["packing"]["packed_tokens"]
    assert tokens["packing"]["padded_tokens"] >= dataset.num_tokens
    assert tokens["sharing"]["sampled_rows"] == 40 and tokens["sharing"]["speedup"] > 1.2
    assert find(TokenLengths, ROWS) == [] and run(TokenLengths, ROWS)[1] == {}


def test_rows_over_max_length_are_told_with_what_each_policy_loses() -> None:
    findings, figures = measured({"train": ROWS + LONG, "valid": ROWS})
    over = next(one for one in findings if one.name == "over_max_length")
    assert (over.severity, over.split, over.count) == ("warning", "train", 2)
    assert [key.number for key in over.rows] == [41, 42]
    assert "2 of 42 rows are longer than 100 tokens" in over.message
    conversations = [(str(n), to_conversation(row, where="")) for n, row in enumerate(LONG)]
    whole = chat_dataset(conversations, open_renderer(), max_length=10_000).num_supervised
    for policy in SHORTENINGS:
        lost = figures["tokens"]["train"]["would_lose"][policy]
        short = [("short", to_conversation(ROWS[0], where=""))]  # so that something is left to train on
        dataset = chat_dataset(short + conversations, open_renderer(), max_length=100, too_long=policy)
        kept = dataset.num_supervised - chat_dataset(short, open_renderer(), max_length=100).num_supervised
        counts = (dataset.num_dropped, dataset.num_answers_cut, whole - kept)
        assert (lost["answers"], lost["parts_of_answers"], lost["supervised_tokens"]) == counts, policy
    assert "sliding loses none" in over.advice and "drop loses 2 answers" in over.advice


def test_a_row_far_longer_than_the_others_is_named() -> None:
    findings, _ = measured(ROWS * 5 + [pair("How wide?", "Wide. " * 200)], max_length=4000)
    assert [(one.name, one.severity, one.count) for one in findings] == [("long_outliers", "note", 1)]
    assert [key.number for key in findings[0].rows] == [201]


def test_what_the_template_refuses_is_one_finding_with_its_reasons() -> None:
    rows: list[Any] = [
        {"messages": [{"role": "system", "content": "Be brief."}, *turns]}
        for turns in ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}],) * 3
    ]
    findings = find(TokenLengths, [*ROWS, *rows], open_renderer=partial(open_renderer, "strict"))
    assert [(one.name, one.severity, one.count) for one in findings] == [("cannot_render", "error", 3)]
    assert "3 of 43 rows cannot be rendered" in findings[0].message and "system" in findings[0].message
    assert find(TokenLengths, [*ROWS, *rows], open_renderer=open_renderer) == []


def test_long_prompts_with_tiny_answers_are_noted() -> None:
    findings, _ = measured([pair("How wide is the field? " * 20, "68")] * 20, max_length=4000)
    assert [(one.name, one.severity) for one in findings] == [("few_supervised_tokens", "note")]


def test_documents_are_counted_as_they_are_trained() -> None:
    _, figures = measured([{"text": "The quick brown fox. " * 50}, {"text": "Hello there!"}], max_length=32)
    tokens = figures["tokens"]["train"]
    assert tokens["supervised_share"] == 1.0 and tokens["over_max_length"] == 0
    assert tokens["packing"]["tokens"] >= tokens["total"]  # pieces share a token


def test_of_an_item_the_prompt_is_measured() -> None:
    _, figures = measured({"train": ROWS, "valid": [{"question": "How wide?", "must": ["68"]}]})
    assert set(figures["tokens"]["valid"]) >= {"prompt", "row"} and "answer" not in figures["tokens"]["valid"]


def test_rows_without_a_system_prompt_in_common_share_little() -> None:
    system = {"role": "system", "content": "You answer questions on fields in one short sentence. " * 5}

    def turns(n: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"{n} how wide?"}, {"role": "assistant", "content": "68 m."}]

    shared = measured([{"messages": [system, *turns(n)]} for n in range(40)], max_length=1000)[1]
    alone = measured([{"messages": turns(n)} for n in range(40)], max_length=1000)[1]
    assert (
        shared["tokens"]["train"]["sharing"]["speedup"] > 2 > alone["tokens"]["train"]["sharing"]["speedup"]
    )


def test_pieces_add_up() -> None:
    roles = ("system", "user", "assistant")
    refused = {"messages": [{"role": role, "content": "x"} for role in roles]}
    preference = {"prompt": "Hi", "chosen": "Hello, you.", "rejected": "What?"}
    rows: list[Any] = [*ROWS[:15], *LONG, refused, {"text": "A document."}, preference, *ROWS[15:20]]
    splits = {"train": rows, "valid": rows[::2]}
    options: dict[str, Any] = {
        "open_renderer": partial(open_renderer, "strict"),
        "max_length": 60,
        "batch_size": 4,
    }
    assert_merges(TokenLengths, splits, **options)
    assert_merges(CharacterLengths, splits)


def test_characters_need_no_model() -> None:
    findings, figures = run(CharacterLengths, {"train": [*ROWS, {"text": "A document."}], "valid": ROWS[:1]})
    assert findings == []
    train = figures["characters"]["train"]
    assert train["prompt"]["p50"] == len("How wide is field 10?") and train["answer"]["max"] == len(
        "It is 10 m wide."
    )
    assert sum(one["count"] for one in train["histogram"]) == 41
    assert train["total"] == sum(len(a) + len(b) for a, b in (row.values() for row in ROWS)) + len(
        "A document."
    )


@pytest.mark.parametrize("rows", [[], [{"nothing": 1}]])
def test_no_rows_no_figures(rows: list[Any]) -> None:
    assert run(CharacterLengths, rows) == ([], {}) and measured(rows) == ([], {})
