"""Groups of commands that take a name, and commands that run on the server."""

import os
import sys
from typing import Any

import click


class Named(click.Group):
    """A group of commands that also takes a name: `models iris` is `models show iris`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


def on_the_server(group: click.Group, module: str, name: str, told: str) -> None:
    """A command of a module of mldeploy.admin, in a process of its own: it needs scikit-learn, we do not."""

    @group.command(name, help=told, add_help_option=False, context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: tuple[str, ...]) -> None:
        program = [sys.executable, "-P", "-m", f"mldeploy.admin.{module}", name, *arguments]
        os.execv(program[0], program)
