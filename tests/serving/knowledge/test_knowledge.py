"""Documents go in and out whole, the search is BM25 to the last digit, prompts are those of the training rows."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rank_bm25 import BM25Okapi

from luthier.chat.context import context_turn
from luthier.chat.messages import Message
from luthier.chunks import ChunkSizes
from luthier.data.formats import read_example
from luthier.errors import ConfigError, DataError, RegistryError, ServingError
from luthier.serving.knowledge import KnowledgeBase, default_folder, prompt_with
from luthier.serving.knowledge.bm25 import K1, B, build_index, count
from luthier.serving.knowledge.change import add, documents_at, remove
from luthier.serving.knowledge.prompt import context_of
from luthier.serving.terms import terms

RUGBY = "# Field\n\nThe field is 68 metres wide.\n\n## Posts\n\nThe posts stand 5.5 metres apart.\n"
COOKING = "Boil the eggs for ten minutes.\nFry the onions in butter.\n"


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs" / ".hidden").mkdir(parents=True)
    for name, text in (
        ("rugby.md", RUGBY),
        ("cooking.txt", COOKING),
        (".hidden/no.md", "posts"),
        ("a.bin", ""),
    ):
        (tmp_path / "docs" / name).write_text(text)
    return Path("docs")


@pytest.fixture
def base(documents: Path) -> Path:
    folder = Path("knowledge/sport")
    add(folder, documents_at([documents]))
    return folder


WORDS = ["posts", "field", "egg", "eggs", "metre", "the", "wide", "onion"]
words = st.lists(st.sampled_from(WORDS), max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.lists(words, min_size=1, max_size=6).filter(any), words)
def test_scores_are_those_of_the_formula_and_of_rank_bm25(rows: list[list[str]], asked: list[str]) -> None:
    texts = [" ".join(row) for row in rows]
    ours = build_index([count(texts[:2]), count(texts[2:])] if len(texts) > 2 else [count(texts)]).scores(
        " ".join(asked)
    )
    split = [terms(text) for text in texts]
    mean = sum(map(len, split)) / len(split)
    with_term = Counter(term for row in split for term in set(row))
    idf = {t: math.log(1 + (len(split) - n + 0.5) / (n + 0.5)) for t, n in with_term.items()}
    twin = [
        sum(
            idf.get(t, 0) * row.count(t) * (K1 + 1) / (row.count(t) + K1 * (1 - B + B * len(row) / mean))
            for t in terms(" ".join(asked))
        )
        for row in split
    ]
    assert ours == pytest.approx(twin, rel=1e-5, abs=1e-6)
    other = BM25Okapi(split, k1=K1, b=B)
    other.idf = idf
    assert ours == pytest.approx(other.get_scores(terms(" ".join(asked))), rel=1e-5, abs=1e-6)


def test_words_are_folded() -> None:
    folded = ["the", "pony", "boxe", "bus", "stop", "glass", "5", "5", "café"]
    assert terms("The Ponies' boxes, bus-stops & glass: 5.5 cafés") == folded
    assert terms("the referee's Pies and ties’ ﬁelds") == ["the", "referee", "pie", "and", "tie", "field"]


def test_the_best_passage_comes_first_with_its_source(base: Path) -> None:
    opened = KnowledgeBase.open(base)
    first, *others = opened.search("How far apart do the posts stand?", 3)
    assert first.text == "The posts stand 5.5 metres apart." and str(first.source) == "docs/rugby.md:7"
    assert first.source.heading == "Field > Posts"
    assert first.to_dict()["lines"] == [7, 7] and first.score > max(one.score for one in others)
    assert opened.search("Field", 1)[0].text == "The field is 68 metres wide."  # by its heading too
    assert opened.search("quantum", 3) == [] and opened.search("", 3) == []
    with pytest.raises(ServingError, match="at least 1 passage"):
        opened.search("x", 0)


def test_only_what_changed_is_made_again(base: Path, documents: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (base / "documents").iterdir()}
    assert {one.word for one in add(base, documents_at([documents]))} == {"unchanged"}
    (documents / "cooking.txt").write_text("Bake the pie.\n")
    (documents / "twin.md").write_text(RUGBY)
    changes = {one.name: one.word for one in add(base, documents_at([documents]))}
    assert changes == {
        "docs/cooking.txt": "replaced",
        "docs/rugby.md": "unchanged",
        "docs/twin.md": "same as another",
    }
    after = {path.name: path.stat().st_mtime_ns for path in (base / "documents").iterdir()}
    assert len(after) == 4 and len(before.items() & after.items()) == 2  # the old eggs are gone
    opened = KnowledgeBase.open(base)
    assert opened.search("egg") == [] and opened.search("pies")[0].text == "Bake the pie."
    assert len(list(base.glob("index-*"))) == 1


def test_removed_is_not_found(base: Path) -> None:
    old = KnowledgeBase.open(base)
    assert remove(base, ["docs/rugby.md"]) == 2
    assert KnowledgeBase.open(base).search("posts") == [] and old.search("posts")  # opened is opened
    with pytest.raises(
        ServingError, match=r"expected one of its documents, got 'x'; it has docs/cooking\.txt"
    ):
        remove(base, ["x"])
    remove(base, ["docs/cooking.txt"])
    assert KnowledgeBase.open(base).search("butter") == []


def test_all_documents_or_none(base: Path, documents: Path) -> None:
    (documents / "new.txt").write_text("A new sentence.")
    (documents / "empty.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"empty\.txt: expected a document with words"):
        add(base, documents_at([documents]))
    assert KnowledgeBase.open(base).search("sentence") == []
    with pytest.raises(DataError, match="no such document"):
        documents_at([Path("nowhere")])
    with pytest.raises(DataError, match="found none"):
        documents_at([base / "documents"])
    with pytest.raises(ConfigError, match="180 words"):
        add(base, [documents / "new.txt"], sizes=ChunkSizes(50, 0))


@pytest.mark.parametrize("damage", ["torn contents", "no index", "torn pieces", "no base"])
def test_a_damaged_base_is_refused(base: Path, damage: str) -> None:
    if damage == "torn contents":
        (base / "knowledge.json").write_text("{")
    elif damage == "no index":
        next(base.glob("index-*")).unlink()
    elif damage == "torn pieces":
        next((base / "documents").glob("*.json")).write_text("[]")
    else:
        (base / "knowledge.json").unlink()
    with pytest.raises(ServingError):
        KnowledgeBase.open(base)


def test_names_are_no_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_folder("sport", {"LUTHIER_KNOWLEDGE": "/srv"}) == Path("/srv/sport")
    for name in ("../etc", "a/b", "", ".hidden", os.sep):
        with pytest.raises(RegistryError):
            default_folder(name)


def _embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors of a toy meaning: of metres, of food, of neither."""
    kinds = [("metre", "wide", "posts", "distance"), ("eggs", "butter", "breakfast"), ("",)]
    found = np.array([[sum(word in text for word in kind) for kind in kinds] for text in texts], np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def test_meanings_are_searched_beside_words(documents: Path) -> None:
    folder = Path("knowledge/both")
    add(folder, documents_at([documents]), embed=_embed)
    assert KnowledgeBase.open(folder).search("breakfast") == []  # no word of it stands there
    opened = KnowledgeBase.open(folder, _embed)
    assert "eggs" in opened.search("breakfast", 1)[0].text
    assert "posts" in opened.search("posts distance", 1)[0].text
    with pytest.raises(ConfigError, match="expected an embedder"):
        add(folder, documents_at([documents]))
    remove(folder, ["docs/cooking.txt", "docs/rugby.md"])
    assert KnowledgeBase.open(folder, _embed).search("breakfast") == []


def test_the_prompt_is_that_of_the_training_rows(base: Path) -> None:
    question = "How far apart do the posts stand?"
    passages = KnowledgeBase.open(base).search(question, 2)
    row = {
        "system": "Answer from the context.",
        "context": [passage.text for passage in passages],
        "question": question,
        "answer": "5.5 metres.",
    }
    _, example = read_example(row, where="row")
    asked = (Message("system", "Answer from the context."), Message("user", question))
    assert prompt_with(asked, passages) == example.messages[:-1]
    assert context_of(passages) == example.context
    assert prompt_with(asked, []) == asked and prompt_with((), passages) == ()
    assert prompt_with(asked, passages, lambda context, question: question)[1].content == question
    assert context_turn("c", "q") == "c\n\nq"
