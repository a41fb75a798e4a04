"""`luthier chat`: talk to any model, through its training template and stop ids."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.common import console, load, read_text_option
from luthier.cli.eval_models import system_prompt

if TYPE_CHECKING:
    from luthier.chat.messages import Message
    from luthier.models.generate import Sampling
    from luthier.models.load import LoadedModel

_HELP = "/system TEXT sets the system prompt, /reset forgets the conversation, /quit leaves."


def chat(
    model: Annotated[
        str,
        typer.Argument(help="A run, a folder, an embedded name, a hub id, or a specialist NAME[@VERSION]."),
    ] = "luthier-nano",
    system: Annotated[
        str | None, typer.Option(help="A system prompt, or @FILE. Default: a specialist's own.")
    ] = None,
    ask: Annotated[str | None, typer.Option(help="Ask this one question and leave.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest token.")] = 0.0,
    top_p: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Keep the likeliest tokens up to this share.")
    ] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    seed: Annotated[int, typer.Option(help="For temperatures above 0.")] = 0,
) -> None:
    """Talk to a model. /system TEXT, /reset, /quit."""
    from luthier.chat.messages import Message
    from luthier.models.generate import Sampling

    loaded = load(model)
    sampling = Sampling(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed)
    system = system_prompt(model, read_text_option(system))
    history: list[Message] = []
    if ask is not None:
        _turn(loaded, history, system, ask, sampling)
        return
    console().print(f"[dim]{loaded.name}. {_HELP}[/dim]")
    while (line := _read_line()) is not None:
        command, _, rest = line.partition(" ")
        if command in ("/quit", "/exit"):
            break
        if command == "/reset":
            history.clear()
            console().print("[dim]forgotten[/dim]")
        elif command == "/system":
            system = system_prompt(model, rest.strip()) or None
            console().print(f"[dim]system prompt {'set' if system else 'removed'}[/dim]")
        elif command.startswith("/"):
            console().print(f"[dim]{_HELP}[/dim]")
        elif line.strip():
            _turn(loaded, history, system, line, sampling)


def _read_line() -> str | None:
    try:
        return input("> ")
    except EOFError:
        return None


def _turn(
    loaded: "LoadedModel", history: "list[Message]", system: str | None, line: str, sampling: "Sampling"
) -> None:
    """One question and its answer; the question is forgotten again where it cannot be answered."""
    from luthier.chat.messages import Message
    from luthier.errors import ModelError, TemplateError
    from luthier.models.generate import stream

    asked = [*history, Message("user", line)]
    prefix = [Message("system", system)] if system else []
    ids: list[int] = []
    try:
        for text in _texts(loaded, stream(loaded, loaded.renderer.prompt([*prefix, *asked]), sampling), ids):
            print(text, end="", flush=True)
    except KeyboardInterrupt:
        print(" [stopped]", end="")
    except (ModelError, TemplateError) as error:
        console(stderr=True).print(f"[red]{error}[/red] /reset starts over.")
        return
    print()
    answer = loaded.renderer.parse(ids)
    if answer.termination == "length":
        console(stderr=True).print("[dim]cut at --max-new-tokens[/dim]")
    history[:] = [*asked, Message("assistant", answer.text)]


def _texts(loaded: "LoadedModel", tokens: Iterator[int], ids: list[int]) -> Iterator[str]:
    """New text as tokens arrive; a character whose bytes are not all there yet is held back."""
    shown = ""
    for token in tokens:
        ids.append(token)
        if token in loaded.renderer.stop_ids:
            break
        text = loaded.renderer.decode(ids)
        if not text.endswith("\ufffd"):
            yield text[len(shown) :]
            shown = text
