"""The selftest: that the trainer is right on this model and these rows, shown and not promised.

Each test is a small function from a bench (the user's model, a few of the user's rows, a temporary folder) to a
proof: a word, numbers, and a sentence. All of them run, even where one fails. Everything goes through the parts that
a run uses. Knows nothing of screens: whoever calls hands in whom to tell.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from luthier.training.plan import Plan
from luthier.training.selftest import arithmetic, runs, supervision
from luthier.training.selftest.bench import Bench, Skip, open_bench
from luthier.training.selftest.bench import Proof as Proof
from luthier.training.selftest.bench import Word as Word

Test = Callable[[Bench], Proof]

TESTS: Mapping[str, Test] = {
    "mask": supervision.mask,
    "template": supervision.template,
    "forest": arithmetic.forest,
    "trunk": arithmetic.trunk,
    "accumulation": arithmetic.accumulation,
    "padding": arithmetic.padding,
    "resume": runs.resume,
    "seed": runs.seed,
    "adapter": runs.adapter,
    "save and load": runs.save_and_load,
    "overfit": runs.overfit,
}


def run_selftest(
    plan: Plan,
    *,
    begin: Callable[[str], None] = lambda name: None,
    tell: Callable[[str, Proof], None] = lambda name, proof: None,
    tests: Mapping[str, Test] = TESTS,
) -> dict[str, Proof]:
    """Run the tests in their order. `begin` hears a test's name before it runs, `tell` what it proved."""
    proofs = {}
    with tempfile.TemporaryDirectory(prefix="luthier-selftest-") as folder:
        bench = open_bench(plan, Path(folder))
        for name, test in tests.items():
            begin(name)
            proofs[name] = _one(test, bench)
            tell(name, proofs[name])
    return proofs


def _one(test: Test, bench: Bench) -> Proof:
    started = time.perf_counter()
    try:
        proof = test(bench)
    except Skip as reason:
        proof = Proof(Word.SKIPPED, str(reason))
    except Exception as error:  # whatever goes wrong is this test's result, and the others run on
        proof = Proof(Word.FAILED, f"it could not be run: {type(error).__name__}: {error}")
    return replace(proof, seconds=time.perf_counter() - started)
