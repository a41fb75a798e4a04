"""`luthier data`: look at the data, and put it right, before it costs a step. One file per verb."""

import typer

from luthier.cli.data import check, convert, diff, filter, fix, mix, sample, show, split, stats, versions

app = typer.Typer(help="Check, show and shape training data.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Check, show and shape training data."""


app.command("check")(check.check)
app.command("convert")(convert.convert)
app.command("show")(show.show)
app.command("stats")(stats.stats)
app.command("commit")(versions.commit)
app.command("log")(versions.log)
app.command("diff")(diff.diff)
app.command("verify")(versions.verify)
app.command("fix")(fix.fix)
app.command("filter")(filter.filter)
app.command("sample")(sample.sample)
app.command("mix")(mix.mix)
app.command("split")(split.split)
