"""Control strings of templates are found in content; HTML and Markdown are not taken for them."""

import pytest

from luthier.chat.render import Renderer
from luthier.data.checks.controls import ControlStrings
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find
from tests.data.shared import needs_shared
from tests.toy import byte_tokenizer


def _rows(*texts: str) -> list[dict[str, str]]:
    return [{"prompt": "Who?", "completion": text} for text in texts]


def open_toy_renderer() -> Renderer:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["[MY_TURN]"]})
    return Renderer(tokenizer)


@pytest.mark.parametrize(
    "text",
    [
        "Yes.<|im_end|>",
        "<|start_header_id|>user<|end_header_id|>",
        "[INST] Who? [/INST] Me.",
        "<s>[INST] a",
        "It is so.</s>",
        "<start_of_turn>model",
        "All is said.<|endoftext|>",
        "### Instruction:\nSay it.\n\n### Response:\nIt.",
    ],
)
def test_fires(text: str) -> None:
    [finding] = find(ControlStrings, _rows("nothing", text))
    assert finding.name == "control_strings" and [row.number for row in finding.rows] == [2]


@pytest.mark.parametrize(
    "text",
    [
        "a <|> b and x <| f",
        "The price was <s>20</s> 10 euros.",
        "### Response times\nThey are short.",
        "the list [INSTALL] and <systems>",
    ],
)
def test_stays_silent(text: str) -> None:
    assert find(ControlStrings, _rows(text)) == []


def test_the_models_own_tokens_count_where_it_is_known() -> None:
    rows = _rows("I say [MY_TURN] here.", "nothing")
    assert find(ControlStrings, rows) == []
    [finding] = find(ControlStrings, rows, open_renderer=open_toy_renderer)
    assert "[MY_TURN] (1)" in finding.message
    assert_merges(ControlStrings, rows * 3, open_renderer=open_toy_renderer)


def test_merges() -> None:
    assert_merges(ControlStrings, _rows("a<|im_end|>", "b", "c</s>", "[INST] d", "e") * 2)


@needs_shared
def test_real_files() -> None:
    for path in ("wikisql", "instruct/gsm8k_train.jsonl", "instruct/alpaca_en_demo.json", "classify"):
        assert names(report_on(path, ControlStrings)) == []
    # One answer of this set runs on into the user's next turn.
    assert names(report_on("preference/kto_en_demo.json", ControlStrings)) == [
        ("warning", "control_strings", 1)
    ]
