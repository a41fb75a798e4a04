"""Prompt baselines: how they ask, which examples they show, and the word about training."""

from collections.abc import Sequence

import pytest

from luthier.chat.messages import Conversation, Message
from luthier.chat.parse import Termination
from luthier.errors import EvaluationError
from luthier.evaluation.baselines import Baseline, Word, choose_examples, worth
from luthier.evaluation.compare import compare
from luthier.evaluation.item import EvalItem
from luthier.evaluation.lookup import Lookup
from luthier.evaluation.runner import AnsweredItem, EvalResult, evaluate
from tests.evaluation.calculator import Calculator, sums


class Oracle:
    """Right on the items it is given by place, wrong on the others."""

    def __init__(self, name: str, items: Sequence[EvalItem], right: Sequence[int]) -> None:
        self.name = name
        self.right = {items[place].messages[-1].content: items[place].answer or "" for place in right}

    def answer(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Sequence[AnsweredItem]:
        texts = [self.right.get(messages[-1].content, "no") for messages in conversations]
        return [AnsweredItem(text, (), "", 0, Termination.CLEAN, 0.0) for text in texts]


def results(count: int, *rights: Sequence[int], sources: int = 0) -> list[EvalResult]:
    items = sums(count, "plus")
    if sources:
        items = [
            EvalItem(i.id, i.messages, i.answer, grader=i.grader, source=f"s{place % sources}")
            for place, i in enumerate(items)
        ]
    return [evaluate(Oracle(f"m{n}", items, right), items) for n, right in enumerate(rights)]


def test_training_paid_only_where_every_baseline_is_beaten() -> None:
    *baselines, tuned = results(60, range(10), range(20), range(50))
    found = worth(baselines, tuned)
    assert (found.word, found.best_baseline) == (Word.TRAIN, "m1")
    assert "30 won, 0 lost against m1" in found.reason
    *baselines, tuned = results(60, range(10), range(47), range(50))  # +3 of 60 is not enough
    found = worth(baselines, tuned)
    assert found.word is Word.NOT_ENOUGH and "1 of 2 baselines" in found.reason


def test_do_not_train_can_win() -> None:
    *baselines, tuned = results(60, range(10), range(50), range(20))
    assert worth(baselines, tuned).word is Word.DO_NOT_TRAIN
    same = results(300, range(250), range(250))
    assert worth(same[:1], same[1]).word is Word.DO_NOT_TRAIN
    assert "as good" in worth(same[:1], same[1]).reason
    none = results(300, (), ())
    assert "neither is right on any item" in worth(none[:1], none[1]).reason
    few = results(20, range(15), range(15))  # the same on few items shows nothing
    assert worth(few[:1], few[1]).word is Word.NOT_ENOUGH


def test_p_values_are_those_of_the_comparison_and_sources_count_as_one() -> None:
    one, tuned = results(40, range(10), range(24))
    pair = compare([one, tuned]).pairs[0]
    (found,) = worth([one], tuned).pairs
    assert (found.p_value, found.wins, found.losses) == (pair.p_value, 14, 0)
    assert worth([one], tuned).word is Word.TRAIN
    one, tuned = results(40, range(0, 40, 4), [*range(0, 40, 4), *range(1, 40, 4)], sources=4)
    assert worth([one], tuned).word is Word.NOT_ENOUGH  # all 10 wins are from one source
    with pytest.raises(EvaluationError, match="at least one baseline"):
        worth([], tuned)


def row(question: str, answer: str) -> Conversation:
    return Conversation((Message("system", "S"), Message("user", question), Message("assistant", answer)))


def test_examples_are_spread_over_answers_and_never_ask_what_an_item_asks() -> None:
    rows = [row(f"ham {n}", "ham") for n in range(20)] + [row("win cash", "spam"), row("call now", "spam")]
    items = [EvalItem("1", (Message("user", "Win  CASH"),), "spam")]
    chosen = choose_examples(rows, items, 2)
    assert [message.role for message in chosen] == ["user", "assistant"] * 2
    assert sorted(message.content for message in chosen[1::2]) == ["ham", "spam"]
    assert "win cash" not in [message.content for message in chosen]
    assert choose_examples(rows, items, 2) == chosen != choose_examples(rows, items, 2, seed=1)
    with pytest.raises(EvaluationError, match="only 21 of 22 training rows"):
        choose_examples(rows, items, 22)


def test_passages_stand_before_the_question_and_the_items_stay_the_same() -> None:
    lookup = Lookup(["The word minus means to take away.", "Bread needs flour."])
    way = Baseline("retrieval of 1", lookup=lookup, num_passages=1)
    items = sums(3, "minus")
    model = Calculator("base")  # knows what an operator is only from the turns before the question
    shown: list[Sequence[Sequence[Message]]] = []
    plain = evaluate(model, items)

    class Reader(Calculator):
        def answer(
            self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
        ) -> Sequence[AnsweredItem]:
            shown.append(conversations)
            return super().answer(conversations, max_new_tokens)

    reader = Reader("base", "minus")
    result = evaluate(reader, items, asking=way.asking(reader, 64), prompt_variant=way.name)
    assert shown[0][0][-1].content.startswith("The word minus means to take away.\n\nWhat is")
    assert (result.label, result.accuracy, plain.accuracy) == ("base + retrieval of 1", 1.0, 0.0)
    assert compare([plain, result]).pairs[0].wins == 3
    assert Baseline("zero-shot").asking(model, 64) is None
