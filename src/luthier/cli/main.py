"""`luthier`: the verbs, and the one place where an error becomes a message and an exit code.

Verb files import only typer at their top, so that `luthier --help` answers at once.
"""

import errno
import signal
import sys
import tempfile
import threading
from types import FrameType
from typing import Annotated

import typer

from luthier import __version__
from luthier.cli import (
    cache,
    certify,
    chat,
    data,
    demo,
    diagnose,
    doctor,
    evaluate,
    export,
    gate,
    guard,
    imports,
    interactions,
    judge,
    keys,
    knowledge,
    methods,
    models,
    ollama,
    plan,
    quantize,
    router,
    runs,
    sandbox,
    score,
    selftest,
    serve,
    specialists,
    train,
)
from luthier.errors import LuthierError

app = typer.Typer(
    name="luthier",
    help="Build, prove and serve small specialist language models on your own machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("demo")(demo.demo)
app.add_typer(data.app, name="data")
app.command("selftest")(selftest.selftest)
app.command("plan")(plan.plan)
app.command("train")(train.train)
app.command("diagnose")(diagnose.diagnose)
app.add_typer(evaluate.app, name="eval")
app.command("compare")(evaluate.compare)
app.command("gate")(gate.gate)
app.command("score")(score.score)
app.add_typer(judge.app, name="judge")
app.command("export")(export.export)
app.command("quantize")(quantize.quantize)
app.command("certify")(certify.certify)
app.add_typer(ollama.app, name="ollama")
app.command("import")(imports.import_model)
app.command("chat")(chat.chat)
app.add_typer(router.app, name="router")
app.command("serve")(serve.serve)
app.add_typer(keys.app, name="keys")
app.add_typer(interactions.app, name="interactions")
app.add_typer(guard.app, name="guard")
app.add_typer(knowledge.app, name="knowledge")
app.add_typer(runs.app, name="runs")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(specialists.app, name="specialists")
app.command("models")(models.models)
app.command("methods")(methods.methods)
app.command("tokenizer")(models.tokenizer)
app.add_typer(cache.app, name="cache")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Entry point of the `luthier` command."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)  # training and serving take their own, and give it back
    try:
        app()
    except LuthierError as error:
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True).print(Text("error: ", style="bold red") + Text(str(error)), soft_wrap=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        if error.errno is None:
            raise
        print(f"error: {_refused(error)}", file=sys.stderr)
        sys.exit(2)  # 1 is an answer of some verbs: `data check --strict`, `data diff --exit-code`
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _terminated(number: int, frame: FrameType | None) -> None:
    """Unwind, so that what was begun is cleared away."""
    sys.exit(128 + number)


def _refused(error: OSError) -> str:
    """What the machine would not do: a full disk and a forbidden folder are not the program's fault."""
    where = f"{error.filename}: " if error.filename is not None else ""
    if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return f"{where}{error.strerror}"
    return (
        f"{where}{error.strerror}. Make room where the output goes and in "
        f"{tempfile.gettempdir()} for temporary files (TMPDIR names another folder)"
    )
