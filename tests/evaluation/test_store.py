"""The store of answers: a killed evaluation goes on, and nothing that counts is mixed up."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.errors import EvaluationError
from luthier.evaluation.graders import GRADERS, Grader
from luthier.evaluation.graders.verdict import failed
from luthier.evaluation.runner import EvalSettings, evaluate
from luthier.evaluation.store import FILE_NAME, Asked, EvalStore
from luthier.evaluation.task import items_hash
from tests.evaluation.calculator import Calculator, sums

ITEMS = sums(8, "plus")
ASKED = Asked("sha256:weights", items_hash(ITEMS), EvalSettings(64, 3))


def begin(store: EvalStore, asked: Asked = ASKED, *, resume: bool = True):  # type: ignore[no-untyped-def]
    return store.begin(asked, model_name="adder", task="sums", num_items=len(ITEMS), resume=resume)


def test_what_was_answered_is_not_asked_again_and_comes_back_as_it_was(tmp_path: Path) -> None:
    store = EvalStore(tmp_path)
    straight = evaluate(Calculator("adder", "plus"), ITEMS, batch_size=3, kept=begin(store))
    again = Calculator("adder", "plus")
    resumed = evaluate(again, ITEMS, batch_size=3, kept=begin(EvalStore(tmp_path)))
    assert again.batch_lengths == []
    assert resumed.items == straight.items
    (stored,) = store.all()
    assert (stored.num_answered, stored.num_passed, stored.accuracy) == (8, 8, 1.0)
    _, answers = store.find(stored.number)
    assert sorted(answers, key=lambda one: one.id) == sorted(straight.items, key=lambda one: one.id)


@pytest.mark.parametrize(
    "changed",
    [
        replace(ASKED, model="sha256:others"),
        replace(ASKED, items_hash="sha256:others"),
        replace(ASKED, system_prompt="Be brief."),
        replace(ASKED, few_shot=({"role": "user", "content": "x"},)),
        replace(ASKED, settings=EvalSettings(65, 3)),
        replace(ASKED, settings=EvalSettings(64, 4)),
        replace(ASKED, settings=EvalSettings(64, 3, "sampled", 0.7, 1)),
        replace(ASKED, repeat=1),
        replace(ASKED, extra={"documents": "sha256:others"}),
    ],
)
def test_answers_to_anything_else_are_not_taken(tmp_path: Path, changed: Asked) -> None:
    store = EvalStore(tmp_path)
    evaluate(Calculator("adder", "plus"), ITEMS, batch_size=3, kept=begin(store))
    assert not begin(store, changed).known
    assert not begin(store, resume=False).known
    assert len(begin(store).known) == 0  # the last one of this kind is the one that was begun anew


def test_kept_answers_are_graded_by_the_graders_of_today(tmp_path: Path) -> None:
    store = EvalStore(tmp_path)
    evaluate(Calculator("adder", "plus"), ITEMS, batch_size=3, kept=begin(store))
    strict = Grader("numeric", lambda item, text: failed("too late"), lambda item: (), lambda item: ())
    result = evaluate(
        Calculator("adder"), ITEMS, batch_size=3, kept=begin(store), graders={**GRADERS, "numeric": strict}
    )
    assert result.accuracy == 0.0
    assert store.all()[0].num_passed == 0


def test_a_number_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="luthier eval list"):
        EvalStore(tmp_path).find(7)


SLOW = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from luthier.evaluation.runner import evaluate
    from luthier.evaluation.store import EvalStore
    from tests.evaluation.calculator import Calculator
    from tests.evaluation.test_store import ITEMS, begin

    class Slow(Calculator):
        def answer(self, conversations, max_new_tokens):
            time.sleep(0.3)
            return super().answer(conversations, max_new_tokens)

    evaluate(Slow("adder", "plus"), ITEMS, batch_size=3, kept=begin(EvalStore(Path(sys.argv[1]))))
    """
)


def test_kill_9_in_the_middle_and_resume(tmp_path: Path) -> None:
    """A process dies between batches; the next one asks only what is missing, and the result is the straight one."""
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)], env={**os.environ})
    end = time.monotonic() + 60
    store = None
    try:
        while time.monotonic() < end and process.poll() is None:
            if (tmp_path / FILE_NAME).exists():
                store = store or EvalStore(tmp_path)
                if any(one.num_answered for one in store.all()):
                    break
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    kept = begin(EvalStore(tmp_path))
    assert 0 < len(kept.known) < len(ITEMS) and len(kept.known) % 3 == 0  # whole batches only
    calculator = Calculator("adder", "plus")
    resumed = evaluate(calculator, ITEMS, batch_size=3, kept=kept)
    assert sum(map(len, calculator.batch_lengths)) == len(ITEMS) - len(kept.known)
    assert resumed.items == evaluate(Calculator("adder", "plus"), ITEMS, batch_size=3).items
    assert EvalStore(tmp_path).all()[0].num_answered == len(ITEMS)
