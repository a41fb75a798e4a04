"""Tasks: what a YAML file gives, what a bad one is told, and figures with their intervals."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.errors import EvaluationError
from luthier.evaluation.runner import evaluate
from luthier.evaluation.tasks.definition import Task, load_task
from luthier.evaluation.tasks.scores import score
from tests.data.shared import SHARED, needs_shared
from tests.evaluation.tasks.parrot import Parrot

SPAM = [
    {"id": str(i), "question": f"Text {i}: {'win a prize' if i % 3 == 0 else 'see you'}", "source": f"s{i // 4}",
     "answer": "spam" if i % 3 == 0 else "ham"}
    for i in range(24)
]  # fmt: skip


def write(folder: Path, rows: list[dict[str, Any]], **task: Any) -> Path:
    (folder / "items.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump({"items": "items.jsonl", **task}))
    return path


def test_a_task_with_two_graders_prompt_and_settings(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        SPAM,
        name="spam",
        graders=[{"kind": "classification", "labels": ["spam", "ham", "other"]}, "exact"],
        prompt="Spam or ham?\n{question}",
        generation={"max_new_tokens": 4, "system": "One word."},
    )
    task = load_task(path)
    assert (task.name, len(task.items), [g.name for g in task.graders]) == (
        "spam",
        24,
        ["classification", "exact"],
    )
    assert task.items[0].messages[0].content == "Spam or ham?\nText 0: win a prize"
    assert task.items[5].source == "s1" and task.items[5].grader == "classification"
    assert (task.generation.max_new_tokens, task.generation.system) == (4, "One word.")


def test_figures_have_intervals_over_sources(tmp_path: Path) -> None:
    task = load_task(write(tmp_path, SPAM, graders=["classification", "exact"]))
    model = Parrot(lambda text: "spam" if "prize" in text or "Text 1:" in text else "it is ham")
    result = evaluate(model, task.items, graders=task.graders_by_name)
    assert result.accuracy == pytest.approx(23 / 24)
    labels, exact = score(task.items, task.graders, result)
    found = {one.name: one for one in labels.figures}
    assert found["accuracy"].value == pytest.approx(23 / 24)
    assert found["macro_f1"].interval.low < found["macro_f1"].value <= found["macro_f1"].interval.high
    assert labels.tables["confusion"] == {"labels": ["ham", "spam"], "gold_by_predicted": [[15, 1], [0, 8]]}
    assert exact.figures[0].value == pytest.approx(8 / 24)  # "it is ham" is not "ham"
    assert (
        found["no_label"].value == 0.0 < found["no_label"].interval.high
    )  # six sources without one prove little
    assert json.loads(json.dumps(labels.to_dict()))["figures"][0]["num_items"] == 24
    with pytest.raises(EvaluationError, match="expected answers to these 1 items"):
        score(task.items[:1], task.graders, result)


def test_choices_are_listed_in_the_prompt(tmp_path: Path) -> None:
    rows = [{"id": "a", "question": "Capital?", "choices": ["Bern", "Rome"], "answer": "B"}]
    task = load_task(write(tmp_path, rows, graders=["choice"]))
    assert task.items[0].messages[0].content == "Capital?\n\nA. Bern\nB. Rome\n\nAnswer with the letter."


ROW = {"id": "a", "question": "q", "answer": "b"}


@pytest.mark.parametrize(
    ("rows", "task", "expected"),
    [
        ([ROW], {"graders": ["exakt"]}, "task.yaml: no kind of grader is called 'exakt'; did you mean 'exact'?"),
        ([ROW], {"graders": []}, "graders"),
        ([ROW], {}, "graders: a value is needed"),
        ([ROW], {"graders": ["exact"], "promt": "x"}, "unknown key 'promt'; did you mean 'prompt'?"),
        ([ROW], {"graders": ["exact", "exact"]}, "expected each kind once, found exact, exact"),
        ([ROW], {"graders": [{"kind": "numeric", "absolut": 1}]}, "unknown key 'absolut'; did you mean 'absolute'?"),
        ([ROW], {"graders": [{"labels": ["a"]}]}, "expected a name, or 'kind' with settings"),
        ([ROW], {"graders": ["exact"], "ask": "likelihood"}, "its first grader is 'choice'; found 'exact'"),
        ([ROW], {"graders": ["exact"], "prompt": "{context}"}, "items.jsonl:1: field 'context': the prompt"),
        ([ROW, ROW], {"graders": ["exact"]}, "items.jsonl:2: field 'id': this id is already in line 1"),
        ([{**ROW, "grader": "exact"}], {"graders": ["exact"]}, "field 'grader': the task names the graders"),
        ([{**ROW, "choices": []}], {"graders": ["exact"]}, "field 'choices': unknown"),
        ([{**ROW, "source": 3}], {"graders": ["exact"]}, "field 'source': expected a text"),
        ([{**ROW, "must": ["b"]}], {"graders": ["exact"]}, "would ignore 'must'"),
        ([ROW], {"graders": ["numeric"]}, "items.jsonl:1: item 'a': its gold answer 'b' does not pass its own grader"),
        ([ROW], {"graders": [{"kind": "json", "schema_file": "no.json"}]}, "no.json: cannot read the schema"),
        ([ROW], {"graders": ["json"]}, "items.jsonl:1: item 'a': field 'answer': is not JSON"),
        ([ROW], {"graders": [{"kind": "custom", "file": "no.py"}]}, "no such Python file"),
        ([ROW], {"graders": ["classification"]}, "labels: expected two or more"),
    ],
)  # fmt: skip
def test_a_bad_task_is_told_what_is_wrong(
    tmp_path: Path, rows: list[dict[str, Any]], task: dict[str, Any], expected: str
) -> None:
    with pytest.raises(EvaluationError) as caught:
        load_task(write(tmp_path, rows, **task))
    assert expected in str(caught.value)


def test_bad_schemas_and_files_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, [ROW], graders=[{"kind": "json", "schema_file": "s.json"}])
    for text, message in (
        ('{"type": 3}', "is not a JSON Schema"),
        ("{", "is not JSON"),
        ("[]", "expected an object"),
    ):
        (tmp_path / "s.json").write_text(text)
        with pytest.raises(EvaluationError, match=message):
            load_task(path)
    with pytest.raises(EvaluationError, match="no such task"):
        load_task(tmp_path / "absent.yaml")
    (tmp_path / "items.jsonl").unlink()
    with pytest.raises(EvaluationError, match=r"items\.jsonl: cannot read"):
        load_task(path)


def all_right(task: Task) -> None:
    """The gold answers of a task score 1 in every figure that counts right ones."""
    gold = {item.messages[-1].content: task.graders[0].golds(item)[0] for item in task.items}
    result = evaluate(Parrot(gold.__getitem__), task.items, graders=task.graders_by_name)
    assert result.accuracy == 1.0
    scores = score(task.items, task.graders, result, num_resamples=20)
    assert scores[0].figures[0].value == pytest.approx(1.0)
    assert scores[0].figures[0].interval.high == 1.0


@needs_shared
def test_real_sets_become_tasks(tmp_path: Path) -> None:
    lines = (SHARED / "classify" / "SMSSpamCollection").read_text(encoding="utf-8").splitlines()[1:301]
    rows = {text: label for label, text in (line.split("\t", 1) for line in lines)}
    spam = [{"id": str(i), "question": text, "answer": label} for i, (text, label) in enumerate(rows.items())]
    all_right(load_task(write(tmp_path, spam, graders=["classification"])))

    weather = json.loads((SHARED / "extract" / "train_GetWeather.json").read_text(encoding="utf-8"))[
        "GetWeather"
    ]
    slots = {}
    for one in weather:
        text = "".join(part["text"] for part in one["data"])
        slots[text] = [{"text": p["text"], "label": p["entity"]} for p in one["data"] if "entity" in p]
    entities = [{"id": str(i), "question": t, "answer": gold} for i, (t, gold) in enumerate(slots.items())]
    all_right(load_task(write(tmp_path, entities, graders=["extraction", "json"])))

    import csv

    with (SHARED / "probes" / "mmlu_dev" / "astronomy_dev.csv").open(encoding="utf-8", newline="") as file:
        choices = [
            {"id": str(i), "question": r["question"], "choices": [r[f"choice{k}"] for k in range(4)],
             "answer": int(r["answer"])}
            for i, r in enumerate(csv.DictReader(file))
        ]  # fmt: skip
    all_right(load_task(write(tmp_path, choices, graders=["choice"])))

    problems = (SHARED / "instruct" / "gsm8k_train.jsonl").read_text(encoding="utf-8").splitlines()[:200]
    sums = [{"id": str(i), **json.loads(line)} for i, line in enumerate(problems)]
    all_right(load_task(write(tmp_path, sums, graders=["numeric"])))
