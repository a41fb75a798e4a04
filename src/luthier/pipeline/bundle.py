"""A finished run as a specialist: everything that has to travel with the weights, in the store.

Knows nothing of how a run was trained and of whether the specialist is any good: the gate says that.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from luthier.chat.messages import Conversation
from luthier.chat.render import Renderer
from luthier.config import build
from luthier.errors import LuthierError, RunError
from luthier.hashing import hash_text
from luthier.models.load import find_model, load_tokenizer
from luthier.pipeline.identity import model_hash
from luthier.registry.runs import Run, RunStatus
from luthier.registry.specialist import NamedKnowledge, Specialist
from luthier.registry.specialists import SpecialistStore
from luthier.training.recipe import Recipe
from luthier.training.rows import training_conversations

MODEL = "model"
_RUN_FILES = ("recipe.yaml", "resolved.json", "data.json", "environment.json", "metrics.jsonl", "report.html")
_NUM_EXAMPLES = 50
_UNREAD = "{}: its training rows cannot be read again, so no system prompt that they share and no examples travel: {}"
_DEFAULT_SAMPLING: Mapping[str, Any] = {"temperature": 0.0, "max_new_tokens": 256}


def bundle_run(
    store: SpecialistStore,
    run: Run,
    name: str,
    *,
    system_prompt: str | None = None,
    licence: str | None = None,
    sampling: Mapping[str, Any] | None = None,
    message: str = "",
    knowledge: NamedKnowledge | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> tuple[Specialist, bool]:
    """Commit a run's model as the next version of `name`; (the version, whether it is new).

    `system_prompt`: None takes the one that all its training rows share, if they share one. The examples that travel
    with it, to know later what belongs to it, are what its training rows ask; `warn` is told where those cannot be read
    again. `knowledge`: the documents that it answers from; they do not travel with it. Raises RunError where the run is
    not finished, RegistryError where the store refuses.
    """
    if run.status() is not RunStatus.FINISHED:
        raise RunError(
            f"{run.folder}: its status is {run.status().value}; only a finished run has a model to keep. Continue it "
            f"with luthier train --resume {run.folder}"
        )
    asked = asked_of(run, warn)
    prompt = system_prompt if system_prompt is not None else shared_system_prompt(asked)
    source = find_model(str(run.model_folder))
    tokenizer = load_tokenizer(source.tokenizer_place)
    data = json.loads(run.data_path.read_text(encoding="utf-8"))
    details = {
        "form": "adapter" if source.adapter is not None else "weights",
        "base": {"name": source.base, "hash": model_hash(source.base)}
        if source.adapter is not None
        else None,
        "template": hash_text(str(tokenizer.chat_template)),
        "stop_ids": list(Renderer(tokenizer).stop_ids),
        "system_prompt": prompt,
        "sampling": dict(_DEFAULT_SAMPLING if sampling is None else sampling),
        "licence": licence,
        "message": message,
        "run": run.name,
        "data": data,
    }
    if knowledge is not None:
        details["knowledge"] = {"name": knowledge.name, "passages": knowledge.num_passages}
    with tempfile.TemporaryDirectory() as scratch:
        parts = {f"{MODEL}/{path.name}": path for path in _files(run.model_folder)}
        parts |= {name: run.folder / name for name in _RUN_FILES if (run.folder / name).is_file()}
        parts |= _written(Path(scratch), prompt, asked)
        return store.commit(name, parts, details)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _written(folder: Path, prompt: str | None, asked: Iterable[Conversation]) -> dict[str, Path]:
    """The files that are made for the bundle."""
    parts = {"examples.jsonl": folder / "examples.jsonl"}
    lines = [json.dumps(_question(one), ensure_ascii=False) + "\n" for one in _spread(list(asked))]
    parts["examples.jsonl"].write_text("".join(lines), encoding="utf-8")
    if prompt is not None:
        parts["system_prompt.txt"] = folder / "system_prompt.txt"
        parts["system_prompt.txt"].write_bytes(prompt.encode("utf-8"))
    return parts


def asked_of(run: Run, warn: Callable[[str], None] = lambda text: None) -> list[Conversation]:
    """The conversations that the run learnt from; none where it held none, or where they are gone: `warn` is told."""
    if not run.resolved_path.is_file():
        return []
    resolved = json.loads(run.resolved_path.read_text(encoding="utf-8"))
    try:
        recipe = build(Recipe, resolved["values"], where=str(run.resolved_path))
        return [conversation for _, conversation in training_conversations(recipe)]
    except LuthierError as error:
        warn(_UNREAD.format(run.folder, error))
        return []


def shared_system_prompt(asked: Iterable[Conversation]) -> str | None:
    """The system prompt of every conversation, where all have the same one."""
    prompts = {
        one.messages[0].content if one.messages and one.messages[0].role == "system" else None
        for one in asked
    }
    return prompts.pop() if len(prompts) == 1 else None


def _question(conversation: Conversation) -> dict[str, Any]:
    """What stands before the last answer, without the system prompt: that is kept once."""
    turns = list(conversation.messages)
    while turns and turns[-1].role == "assistant":
        turns.pop()
    return {"messages": [turn.to_dict() for turn in turns if turn.role != "system"]}


def _spread(asked: list[Conversation]) -> list[Conversation]:
    """Some of them, evenly spread over all: rows of one kind often stand together."""
    step = max(1, len(asked) // _NUM_EXAMPLES)
    return asked[::step][:_NUM_EXAMPLES]
