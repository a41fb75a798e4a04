"""`luthier data`: look at the data, and put it right, before it costs a step. One file per verb."""

import typer

from luthier.cli.data import check, show

app = typer.Typer(help="Check, show and shape training data.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Check, show and shape training data."""


app.command("check")(check.check)
app.command("show")(show.show)
