"""The ``armoflow`` command.

Exit codes, the same for all commands: 0 when it went well, 1 when it did not (a finding of
``doctor``, an id that nobody knows, a worker that failed), 2 when the command line, the settings or
the engine do not allow it, 130 after Ctrl-C.
"""

from __future__ import annotations

import copy
import importlib
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

import rich_click as click

from armoflow import __version__
from armoflow.cli.foreign_commands import instead_of
from armoflow.errors import ArmoflowError, UnknownIdError
from armoflow.protocol.grpc_setup import prepare_grpc
from armoflow.system.descriptors import open_standard_streams

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT

GROUPS: Final = {
    "Engines and workers": {
        "up": "armoflow.cli.up:up",
        "worker": "armoflow.cli.worker_command:worker",
        "doctor": "armoflow.cli.doctor:doctor",
        "config": "armoflow.cli.configuration:config",
    },
    "Scripts": {
        "run": "armoflow.cli.run_script:run",
        "explain": "armoflow.cli.looking:explain",
        "plan": "armoflow.cli.looking:plan",
    },
    "Looking": {
        "ps": "armoflow.cli.ps:ps",
        "show": "armoflow.cli.show:show",
        "logs": "armoflow.cli.logs:logs",
        "top": "armoflow.cli.top:top",
        "dashboard": "armoflow.cli.dashboard_command:dashboard",
        "report": "armoflow.cli.report_command:report",
        "graph": "armoflow.cli.graph_command:graph",
        "timeline": "armoflow.cli.timeline:timeline",
        "replay": "armoflow.cli.replay_command:replay",
    },
    "Named runs": {
        "runs": "armoflow.cli.runs_command:runs",
        "attach": "armoflow.cli.runs_command:attach",
        "resume": "armoflow.cli.control:resume",
    },
    "Acting": {
        "cancel": "armoflow.cli.control:cancel",
        "pause": "armoflow.cli.control:pause",
        "purge": "armoflow.cli.control:purge",
    },
    "What is kept": {
        "cache": "armoflow.cli.cache_commands:cache",
        "environments": "armoflow.cli.environments_command:environments",
    },
    "Shells": {
        "completion": "armoflow.cli.completion:completion",
    },
}
"""The commands as --help groups them, and where each is: loaded when it is needed, so that a worker
starts with its own only."""

COMMANDS: Final = {name: where for group in GROUPS.values() for name, where in group.items()}
"""Where each command is."""

_HELP = click.RichHelpConfiguration(
    command_groups={
        name: [{"name": title, "commands": list(group)} for title, group in GROUPS.items()]
        for name in ("armoflow", "armonik flow")
    }
)


class Commands(click.RichGroup):
    """The commands; errors of armoflow's are told in a line."""

    def list_commands(self, context: click.Context) -> list[str]:
        """In the order in which they are met."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Load one."""
        where = COMMANDS.get(name)
        if where is None:
            return None
        module, _, attribute = where.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the one that was typed, or say what to type instead."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not context.resilient_parsing:
            instead = instead_of(name, COMMANDS)
            remedy = f" Write {instead}" if instead else ""
            raise click.UsageError(f"No such command {name!r}.{remedy}", context)
        return super().resolve_command(context, args)

    def invoke(self, context: click.Context) -> Any:
        """Run the chosen one."""
        try:
            return super().invoke(context)
        except ArmoflowError as error:
            kind = _Unknown if isinstance(error, UnknownIdError) else _Refusal
            raise kind(str(error)) from error


class _Refusal(click.ClickException):
    exit_code = EXIT_USAGE

    def show(self, file: Any = None) -> None:
        print(f"armoflow: error: {self.message}", file=sys.stderr)


class _Unknown(_Refusal):
    exit_code = EXIT_FAILED


@click.rich_config(help_config=_HELP)
@click.group(
    name="armoflow", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="armoflow", message="%(prog)s %(version)s")
def commands() -> None:
    """Python workflows on ArmoniK, from a laptop to a cluster."""


flow = copy.copy(commands)
flow.name = "flow"
"""The same commands as ArmoniK's own command line lists and calls them: ``armonik flow``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    open_standard_streams()
    prepare_grpc()
    try:
        code = commands.main(
            None if arguments is None else list(arguments),
            prog_name="armoflow",
            standalone_mode=False,
        )
    except (
        click.Abort,
        KeyboardInterrupt,
    ):  # before the command has begun to look after signals itself
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
