"""A group of verbs of which one needs no name: `luthier eval MODEL` is `luthier eval run MODEL`.

Knows nothing of what the verbs do.
"""

from typing import Any

from typer.core import TyperGroup

DEFAULT = "run"


class DefaultVerb(TyperGroup):
    """Arguments that begin with no verb of the group belong to its verb `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)
