"""Write docs/cli.md from the command line's own definition; with `--check`, exit with 1 if it differs.

    python docs/generate_cli.py [--check]

Knows nothing of what a command does: names, help, options and defaults come from the typer app.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

from luthier.cli.main import app

PAGE = Path(__file__).with_name("cli.md")
WORDS = {str: "text", int: "whole number", float: "number", Path: "path"}
HEAD = """# Commands

Every command of `luthier`, written from the program itself: `python docs/generate_cli.py` makes this page.
"""


def page() -> str:
    """The whole page as Markdown."""
    root: Any = typer.main.get_command(app)
    parts = [HEAD, f"```text\nluthier COMMAND [OPTIONS]\n```\n\n{root.help}\n\n{_table(root)}"]
    parts += [_section(name, command) for name, command in _commands(root, "luthier")]
    return "\n".join(parts)


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        path = f"{prefix} {name}"
        yield path, command
        if hasattr(command, "commands"):
            yield from _commands(command, path)


def _section(path: str, command: Any) -> str:
    lines = [f"## {path}", "", command.help or ""]
    if hasattr(command, "commands"):
        below = ", ".join(f"`{path} {name}`" for name in command.commands)
        return "\n".join([*lines, "", f"Commands: {below}.", ""])
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join([path, *(_argument(p) for p in arguments), "[OPTIONS]"])
    return "\n".join([*lines, "", f"```text\n{usage}\n```", "", _table(command)])


def _table(command: Any) -> str:
    kinds = get_type_hints(command.callback) if command.callback else {}
    rows = ["| argument or option | takes | default | |", "|---|---|---|---|"]
    for parameter in command.params:
        if parameter.name == "help" or parameter.hidden:
            continue
        cells = (_names(parameter), _kind(parameter, kinds), _default(parameter), parameter.help or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _argument(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name.upper() + ("..." if parameter.nargs == -1 else ""))
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _kind(parameter: Any, kinds: dict[str, Any]) -> str:
    if getattr(parameter, "is_flag", False):
        return ""
    kind = kinds[parameter.name]
    inner = [k for k in get_args(kind) if k is not type(None)]
    if get_origin(kind) not in (list, Literal, None) and inner:  # X | None
        kind, inner = inner[0], list(get_args(inner[0]))
    if get_origin(kind) is list:
        return f"{WORDS[inner[0]]}, several"
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    return WORDS[kind]


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    if getattr(parameter, "is_flag", False):
        return "on" if parameter.default else "off"
    if parameter.default is None:
        return ""
    return f"`{parameter.default}`"


def main() -> int:
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/cli.md is not what the program says: python docs/generate_cli.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
