"""Commands with the options of an ``argparse`` parser: engines are started by two commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import rich_click as click


class ParserCommand(click.RichCommand):
    """A command that leaves its command line to a parser.

    Args:
        name: The command.
        make_parser: Makes the parser; called when the command is used.
        run: What it does with what was parsed; returns the exit code.
    """

    def __init__(
        self,
        name: str,
        make_parser: Callable[[], argparse.ArgumentParser],
        run: Callable[[argparse.Namespace], int],
    ) -> None:
        self._parser = make_parser()
        self._parser.prog = f"armoflow {name}"
        self._parser.usage = "%(prog)s [OPTIONS]; %(prog)s --help tells them"
        options = [_option(action) for action in self._parser._actions if action.option_strings]
        super().__init__(
            name=name,
            params=[option for option in options if option is not None],
            help=self._parser.description,
            short_help=(self._parser.description or "").partition(",")[0] + ".",
            callback=lambda **chosen: run(argparse.Namespace(**chosen)),
        )

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Let the parser do it; it ends the process with code 2 if it cannot."""
        if any(name in arguments for name in context.help_option_names):
            return super().parse_args(context, ["--help"])
        context.params = vars(self._parser.parse_args(arguments))
        return []


def _option(action: argparse.Action) -> click.Option | None:
    """The option as it is shown, and completed by a shell."""
    if action.dest == "help":
        return None
    shown: dict[str, Any] = {"help": (action.help or "") % {"default": action.default}}
    if action.nargs == 0:
        return click.Option(action.option_strings, is_flag=True, **shown)
    if action.choices:
        return click.Option(action.option_strings, type=click.Choice(list(action.choices)), **shown)
    return click.Option(action.option_strings, metavar=str(action.metavar), **shown)
