"""A GGUF file as an answerer: the same items, the same answers as the folder that it was written from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.errors import EvaluationError, ModelError
from luthier.evaluation.answerers.gguf import GgufAnswerer
from luthier.evaluation.answerers.opening import OpenedAnswerer, open_answerer
from luthier.evaluation.runner import evaluate
from luthier.evaluation.samples import by_sampling
from luthier.export.gguf.write import write_gguf
from luthier.hashing import hash_file
from luthier.models.embedded import EMBEDDED
from tests.evaluation.calculator import sums

pytest.importorskip("llama_cpp", reason="the extra llamacpp is not installed")


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "nano.gguf"
    write_gguf(EMBEDDED["luthier-nano"].folder, path, "f32")
    return path


@pytest.fixture(scope="module")
def file(nano: Path) -> Iterator[OpenedAnswerer]:
    answerer = GgufAnswerer(nano, num_threads=1)  # more would wait for each other where cores are shared
    yield answerer
    answerer.close()


def test_the_file_answers_as_its_folder_does(nano: Path, file: OpenedAnswerer) -> None:
    items = sums(2, "plus", "times")
    folder = open_answerer("luthier-nano", dtype="float32")
    results = [
        evaluate(one, items, system_prompt="Be brief.", max_new_tokens=12, batch_size=1)
        for one in (file, folder)
    ]
    for one, other in zip(results[0].items, results[1].items, strict=True):
        assert (one.prompt, one.answer, one.termination) == (other.prompt, other.answer, other.termination)
        assert (one.num_prompt_tokens, one.num_tokens) == (other.num_prompt_tokens, other.num_tokens)
    assert results[0].summary()["speed"]["p95_latency_seconds"] > 0
    assert not file.may_change and file.identity() == hash_file(nano)


def test_samples_have_seeds(file: OpenedAnswerer) -> None:
    items = sums(2, "plus")
    runs = [evaluate(file, items, asking=by_sampling(file, 8, 1.5, seed)) for seed in (1, 1, 2)]
    said = [[one.answer for one in run.items] for run in runs]
    assert said[0] == said[1] != said[2]
    cold = evaluate(file, items, asking=by_sampling(file, 8, 1e-6, 3))
    greedy = evaluate(file, items, max_new_tokens=8)
    assert [one.answer for one in cold.items] == [one.answer for one in greedy.items]
    with pytest.raises(EvaluationError, match="ask: generate"):
        file.scorer()


def test_a_file_that_is_no_gguf_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(ModelError, match=r"broken\.gguf"):
        open_answerer(str(tmp_path / "broken.gguf"))
