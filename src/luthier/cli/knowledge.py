"""`luthier knowledge`: documents that specialists look things up in: added, listed, searched, removed.

Imports nothing heavy at its top.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.common import console, print_json

if TYPE_CHECKING:
    from luthier.serving.knowledge.base import Embed
    from luthier.serving.knowledge.change import Change

app = typer.Typer(
    help="Documents that specialists look things up in. Without a verb: list them.",
    invoke_without_command=True,
)

Name = Annotated[str, typer.Argument(help="The name of a base of knowledge.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _say(text: str) -> None:
    console().print(text, markup=False, soft_wrap=True)


@app.callback()
def knowledge(context: typer.Context, json: Json = False) -> None:
    """List the bases in $LUTHIER_KNOWLEDGE, or in `knowledge` here."""
    if context.invoked_subcommand is not None:
        return
    from luthier.serving.knowledge.base import default_folder
    from luthier.serving.knowledge.change import bases_in
    from luthier.serving.knowledge.folder import read_contents

    found = {path.name: read_contents(path) for path in bases_in(default_folder("x").parent)}
    if json:
        print_json(
            [{"name": n, "documents": len(c.documents), "pieces": c.num_pieces} for n, c in found.items()]
        )
        return
    if not found:
        _say("no knowledge yet; read some documents: luthier knowledge add DOCS... --to NAME")
    for name, contents in found.items():
        _say(f"{name}: {len(contents.documents)} documents, {contents.num_pieces:,} pieces")


@app.command()
def add(
    documents: Annotated[list[Path], typer.Argument(help="Text, Markdown, HTML; folders of them.")],
    to: Annotated[str, typer.Option(help="The base's name; it is made where it is none.")],
    words: Annotated[
        int | None, typer.Option(min=1, help="Of a new base: the most words a piece. [180]")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(min=0, help="Of a new base: words that two pieces share at most. [30]")
    ] = None,
    meaning: Annotated[
        bool, typer.Option("--meaning", help="Of a new base: search meanings too (extra embed; slow).")
    ] = False,
    json: Json = False,
) -> None:
    """Cut documents into pieces and index them. A document that is there already is replaced where it has changed."""
    from dataclasses import asdict

    from rich.progress import Progress

    from luthier.chunks import ChunkSizes
    from luthier.serving.knowledge.base import default_folder
    from luthier.serving.knowledge.change import add as add_documents
    from luthier.serving.knowledge.change import documents_at

    folder, paths = default_folder(to), documents_at(documents)
    default = ChunkSizes()
    asked = words is not None or overlap is not None
    sizes = ChunkSizes(
        default.max_words if words is None else words, default.overlap_words if overlap is None else overlap
    )
    with Progress(console=console(stderr=True), transient=True) as progress:
        bar = progress.add_task("documents", total=len(paths))
        changes = add_documents(
            folder,
            paths,
            sizes=sizes if asked else None,
            embed=_embedder(folder, meaning),
            on_progress=lambda done: progress.update(bar, completed=done),
        )
    if json:
        print_json([asdict(change) for change in changes])
    else:
        _tell(folder, changes)


def _embedder(folder: Path, wanted: bool) -> "Embed | None":
    """What makes vectors of meaning, where they are asked for or the base has them."""
    from luthier.serving.knowledge.folder import is_knowledge, read_contents

    if not wanted and not (is_knowledge(folder) and read_contents(folder).meaning):
        return None
    from luthier.data.semantic import open_embedder

    return open_embedder()


_SHOWN = 20


def _tell(folder: Path, changes: "Sequence[Change]") -> None:
    for change in changes[:_SHOWN]:
        _say(f"{change.word}: {change.name} ({change.num_pieces} pieces)")
    if len(changes) > _SHOWN:
        _say(f"and {len(changes) - _SHOWN} more")
    _say(f"{folder}: try it: luthier knowledge search {folder.name} QUESTION")


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show the documents of a base."""
    from dataclasses import asdict

    from luthier.serving.knowledge.base import default_folder
    from luthier.serving.knowledge.folder import read_contents

    contents = read_contents(default_folder(name))
    if json:
        print_json(asdict(contents))
        return
    sizes = contents.sizes
    meaning = ", searched by meaning too" if contents.meaning else ""
    _say(f"{name}: pieces of at most {sizes.max_words} words, {sizes.overlap_words} of overlap{meaning}")
    for one in contents.documents:
        _say(f"  {one.num_words:>9,} words in {one.num_pieces:>6,} pieces  {one.added[:10]}  {one.name}")


@app.command()
def search(
    name: Name,
    question: Annotated[str, typer.Argument(help="What is looked for.")],
    num_passages: Annotated[int, typer.Option("--passages", "-k", min=1, help="How many to show.")] = 4,
    json: Json = False,
) -> None:
    """Show what a specialist would be given to answer from."""
    from luthier.serving.knowledge.base import KnowledgeBase, default_folder

    folder = default_folder(name)
    base = KnowledgeBase.open(folder, _embedder(folder, False))
    found = base.search(question, num_passages)
    if json:
        print_json([{**passage.to_dict(), "text": passage.text} for passage in found])
        return
    if not found:
        _say("nothing there has a word of this question")
    for passage in found:
        heading = f"  {passage.source.heading}" if passage.source.heading else ""
        _say(f"{passage.source}  {passage.score:.3f}{heading}")
        _say("  " + passage.text.replace("\n", "\n  "))


@app.command()
def remove(
    name: Name,
    documents: Annotated[
        list[str] | None, typer.Argument(help="Its documents, as `show` names them.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole base.")] = False,
) -> None:
    """Take documents out of a base, or the base away. The documents themselves stay where they are."""
    import shutil

    from luthier.errors import ConfigError
    from luthier.serving.knowledge.base import default_folder
    from luthier.serving.knowledge.change import remove as remove_documents
    from luthier.serving.knowledge.folder import read_contents

    if bool(documents) == everything:
        raise ConfigError(f"expected documents of {name} to remove, or --all")
    folder = default_folder(name)
    if documents:
        _say(f"removed {remove_documents(folder, documents)} pieces")
        return
    read_contents(folder)
    shutil.rmtree(folder)
    _say(f"removed {name}")
