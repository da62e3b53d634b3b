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
from armoflow.codec.unprintable import printable_lines
from armoflow.errors import ArmoflowError, UnknownIdError
from armoflow.protocol.grpc_setup import prepare_grpc
from armoflow.system.descriptors import open_standard_streams

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT

GROUPS: Final = {
    "Engines and workers": {
        "up": (
            "armoflow.cli.up:up",
            "Start an engine on this machine.",
        ),
        "worker": (
            "armoflow.cli.worker_command:worker",
            "Serve an ArmoniK agent as a worker.",
        ),
        "doctor": (
            "armoflow.cli.doctor:doctor",
            "Look whether work can be done there, and say what to do if not.",
        ),
        "config": (
            "armoflow.cli.configuration:config",
            "What variables and files say.",
        ),
    },
    "Scripts": {
        "run": (
            "armoflow.cli.run_script:run",
            "Run a Python script with the interpreter that armoflow is installed in.",
        ),
        "explain": (
            "armoflow.cli.looking:explain",
            "Say what the cache has of the graphs of SCRIPT, and why it has not the rest.",
        ),
        "plan": (
            "armoflow.cli.looking:plan",
            "Say what the graphs of SCRIPT are expected to take, from what was measured before.",
        ),
    },
    "Looking": {
        "ps": (
            "armoflow.cli.ps:ps",
            "List the sessions of an engine, the newest first, with their tasks.",
        ),
        "show": (
            "armoflow.cli.show:show",
            "Show all that is known of a session, a task or a result.",
        ),
        "logs": (
            "armoflow.cli.logs:logs",
            "Show what the tasks of a session have written: print, logs, and what they have "
            "started.",
        ),
        "top": (
            "armoflow.cli.top:top",
            "Show live what runs: tasks by partition and by session, and how many end in a second.",
        ),
        "dashboard": (
            "armoflow.cli.dashboard_command:dashboard",
            "Serve a page that shows live what runs, what is slow, and what failed.",
        ),
        "report": (
            "armoflow.cli.report_command:report",
            "Write a page about SESSION: when and what ran, how well, what failed, and its graph.",
        ),
        "graph": (
            "armoflow.cli.graph_command:graph",
            "Draw the graph of SESSION: a box for the tasks of each name, coloured by how far they "
            "are.",
        ),
        "timeline": (
            "armoflow.cli.timeline:timeline",
            "Write when which engine task of SESSION ran, in which pod.",
        ),
        "replay": (
            "armoflow.cli.replay_command:replay",
            "Run one task again, on this machine, with what it was given.",
        ),
    },
    "Named runs": {
        "runs": (
            "armoflow.cli.runs_command:runs",
            "List the named runs of an engine, the newest first.",
        ),
        "attach": (
            "armoflow.cli.runs_command:attach",
            "Wait for a named run, and print its value; what its client left undone is taken over.",
        ),
        "resume": (
            "armoflow.cli.control:resume",
            "Go on with paused sessions, or with a named run.",
        ),
    },
    "Acting": {
        "cancel": (
            "armoflow.cli.control:cancel",
            "Cancel sessions with all their tasks, named runs, or single tasks.",
        ),
        "pause": (
            "armoflow.cli.control:pause",
            "Start no more tasks of these sessions, or named runs; what runs goes on.",
        ),
        "purge": (
            "armoflow.cli.control:purge",
            "Delete sessions with all their data, for good; of a named run all that it has had.",
        ),
    },
    "What is kept": {
        "cache": (
            "armoflow.cli.cache_commands:cache",
            "What is kept of earlier runs, at an engine that stays.",
        ),
        "environments": (
            "armoflow.cli.environments_command:environments",
            "What was installed for tasks with requirements, on this machine.",
        ),
    },
    "Shells": {
        "completion": (
            "armoflow.cli.completion:completion",
            "Print the completion script of SHELL.",
        ),
    },
}
"""The commands as --help groups them, where each is, and what it does: loaded when it is used, so
that a worker starts with its own only, and a list of them with none."""

COMMANDS: Final = {name: told for group in GROUPS.values() for name, told in group.items()}
"""Where each command is, and what it does."""

_HELP = click.RichHelpConfiguration(
    command_groups={
        name: [{"name": title, "commands": list(group)} for title, group in GROUPS.items()]
        for name in ("armoflow", "armonik flow")
    }
)


def load_command(name: str) -> click.Command:
    """One of the commands, to be used."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    return command


class Commands(click.RichGroup):
    """The commands; errors of armoflow's are told in a line."""

    def list_commands(self, context: click.Context) -> list[str]:
        """In the order in which they are met."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """One as help and shells list it."""
        return click.RichCommand(name=name, help=COMMANDS[name][1]) if name in COMMANDS else None

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Load the one that was typed, or say what to type instead."""
        name = args[0]
        if name in COMMANDS:
            return name, load_command(name), args[1:]
        if not name.startswith("-") and not context.resilient_parsing:
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
        print(f"armoflow: error: {printable_lines(self.message)}", file=sys.stderr)


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
