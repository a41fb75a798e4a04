"""The demo's last step: a second specialist, a router over both, and one address that answers for them.

Imports nothing heavy at its top.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier.pipeline.beside import Beside
    from luthier.training.tracking import Tracker

NEITHER = "Hello!"
_START_SECONDS = 120.0


@dataclass(frozen=True)
class Answered:
    """One question to the model `auto`, and what came. specialist: None where the base answered."""

    question: str
    answer: str
    specialist: str | None
    decision: str


@dataclass(frozen=True)
class ServedTwo:
    """What the step gave: the second specialist, how the router did, and the answers of the server."""

    second: "Beside"
    routing: str
    answered: tuple[Answered, ...]


def serve_two(
    folder: Path, base: str, seed: int, first: str, say: Callable[[str, str], None], tracker: "Tracker"
) -> ServedTwo:
    """Make the second specialist in `folder`, train the router, serve both on one base, ask one question of each and
    one of neither; `serving.json` holds it. `first`: the first specialist, `NAME@NUMBER`, of the store in `folder`."""
    from luthier.demo.dataset import CLOSING_QUESTION as FIRST_QUESTION
    from luthier.demo.recipe import UNITS_RECIPE
    from luthier.demo.units import CLOSING_QUESTION, write_units
    from luthier.files import write_json_atomic
    from luthier.pipeline.beside import BesideJob, make_beside
    from luthier.registry.specialists import SpecialistStore

    paths = write_units(folder / "units" / "data", seed)
    recipe = {**UNITS_RECIPE, "train": {**UNITS_RECIPE["train"], "seed": seed}}
    files = (paths["train"], paths["valid"], paths["test"])
    job = BesideJob("units", base, *files, folder=folder / "units", recipe=recipe)
    second = make_beside(job, SpecialistStore(folder / "specialists"), say, tracker)
    routing = _train_router(folder)
    say("router", routing)
    with _server(folder, (first, second.specialist)) as url:
        answered = ask_auto(url, (FIRST_QUESTION, CLOSING_QUESTION, NEITHER))
    for one in answered:
        say("ask `auto`", f"{one.question} -> {one.answer} ({one.specialist or 'the base'})")
    found = ServedTwo(second, routing, tuple(answered))
    write_json_atomic(folder / "serving.json", asdict(found))
    return found


def ask_auto(url: str, questions: Sequence[str]) -> list[Answered]:
    """Ask a running server through the `openai` client, by the model name that lets the router choose."""
    from openai import OpenAI

    found = []
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        for question in questions:
            answer = client.chat.completions.create(
                model="auto", messages=[{"role": "user", "content": question}], max_tokens=48
            )
            told: Mapping[str, Any] = (answer.model_extra or {})["luthier"]
            text = answer.choices[0].message.content or ""
            found.append(Answered(question, text, told["specialist"], told["decision"]))
    return found


def _train_router(folder: Path) -> str:
    """From the questions that each was trained on, into `router`; how it does on those of the tests."""
    from luthier.serving.router import save_router
    from luthier.serving.router.report import evaluate_router
    from luthier.serving.router.training import train_router

    first, general = _own_and_other(folder / "data" / "train.jsonl")
    units = _asked(folder / "units" / "data" / "train.jsonl")
    router = train_router({"rugby-league": first, "units": units}, general)
    save_router(router, folder / "router")
    tests = {"rugby-league": _asked(folder / "data" / "test.jsonl")}
    tests["units"] = _asked(folder / "units" / "data" / "test.jsonl")
    others = _own_and_other(folder / "data" / "other.jsonl")[1]
    report = evaluate_router(router, tests, others)
    return (
        f"{report.answered * report.answered_right:.1%} of {report.num_questions} test questions find their "
        f"specialist, {report.general_kept:.1%} of {report.num_general} others stay with the base"
    )


def _own_and_other(path: Path) -> tuple[list[str], list[str]]:
    """The questions about fields, and those about anything else: a row's tags say which it is."""
    import json

    own: list[str] = []
    other: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        (other if "off" in row["tags"] else own).append(_question(row))
    return own, other


def _asked(path: Path) -> list[str]:
    import json

    return [_question(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _question(row: Mapping[str, Any]) -> str:
    return str(row["question"] if "question" in row else row["messages"][0]["content"])


@contextlib.contextmanager
def _server(folder: Path, specialists: Sequence[str]) -> Iterator[str]:
    """`luthier serve` as anybody would start it, on a free port; its address. It ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "luthier", "serve", *specialists, "--router", str(folder / "router")]
    words += ["--port", str(port), "--record", str(folder / "interactions.sqlite")]
    environment = {**os.environ, "LUTHIER_SPECIALISTS": str(folder / "specialists")}
    log = folder / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(words, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, url, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    import urllib.error
    import urllib.request

    from luthier.errors import ServingError

    until = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise ServingError(f"luthier serve did not start; what it said is in {log}")
