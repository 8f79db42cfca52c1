"""Command groups that take a name, and commands that run on the server."""

import os
import sys
from importlib.util import find_spec
from typing import Any

import click


class NamedGroup(click.Group):
    """A group of commands that also takes a name: `models iris` is `models show iris`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


def on_the_server(group: click.Group, module: str, name: str, help_text: str) -> None:
    """Adds a command that runs a module of mldeploy.admin in its own process, because only that needs scikit-learn."""

    @group.command(name, help=help_text, add_help_option=False, context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: tuple[str, ...]) -> None:
        if find_spec("mldeploy.admin") is None:
            raise click.ClickException("this runs on the server, where all of mldeploy is installed; here is only the client")
        program = [sys.executable, "-P", "-m", f"mldeploy.admin.{module}", name, *arguments]
        os.execv(program[0], program)
