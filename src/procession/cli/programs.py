"""The commands of `procession`; only the one that is called is imported."""

from importlib import import_module

import click

from procession.cli.codes import WRONG_USE

HELP = """Programs that use all the cores of this machine.

Exit codes: 0 all done, 1 some files failed, 2 wrong use and nothing done, 130 interrupted.
"""
NAMES = ["copy", "images"]
WIDEST = 100
"""Columns of help: wider lines are hard to read."""


class Programs(click.Group):
    """The group of all the programs: each is the function of its name in the module of its name."""

    def __init__(self) -> None:
        super().__init__("procession", help=HELP, context_settings={"max_content_width": WIDEST})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return NAMES

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in NAMES:
            return None
        command = getattr(import_module(f"procession.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            # Each version of click shows this in a way of its own.
            print(self.get_help(ctx))
            ctx.exit(WRONG_USE)
        return super().parse_args(ctx, args)
