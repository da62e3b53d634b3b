"""``armoflow replay``: one task again, here."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rich_click as click
from armonik.common import Task

from armoflow.cli.endpoint import engine_options, look
from armoflow.cli.printing import json_option, print_json
from armoflow.cli.termination import ending_in_order
from armoflow.errors import ReplayError, RequirementsError, UnknownIdError
from armoflow.protocol.entities import kind_of
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.settings import ConnectionSettings
from armoflow.replay.dump import FILE, TaskDump, read_dump, save_dump
from armoflow.replay.process import Interpreter, interpreter_for


@click.command()
@click.argument("task")
@engine_options
@click.option("--pdb", "debug", is_flag=True, help="Open pdb where the task's code raised.")
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write what the task was given to a folder, and do not run it.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where the data of a saved task is, if that is not beside its JSON.",
)
@click.option("--yes", is_flag=True, help="Do not ask before another's code is run.")
@json_option
def replay(
    settings: ConnectionSettings,
    task: str,
    *,
    debug: bool,
    save: Path | None,
    data: Path | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Run one task again, on this machine, with what it was given.

    TASK is an id, or enough of its beginning, of a session whose data is still stored; or what
    --save has written; or the JSON file that ArmoniK's TaskDumper writes. Nothing that comes before
    the task is run, and nothing is changed at the engine.
    """
    if Path(task).exists():
        if save is not None:
            raise ReplayError(f"--save is for a task of an engine, and {task} is saved already")
        return _run(Path(task), data, debug=debug, as_json=as_json)
    if data is not None:
        raise ReplayError(f"--data is for a task that was saved, and there is no file {task!r}")
    with look(settings) as inspection:
        found = _find(inspection, task)
        if save is not None:
            save_dump(inspection, found, save)
            _tell_saved(found, save, as_json=as_json)
            return 0
        if not (yes or _is_own(settings)):
            _ask(found, settings)
        with ending_in_order(), tempfile.TemporaryDirectory(prefix="armoflow-") as directory:
            save_dump(inspection, found, Path(directory))
            return _run(Path(directory), None, debug=debug, as_json=as_json)


def _find(inspection: Inspection, id: str) -> Task:
    found = inspection.find(id)
    if not isinstance(found, Task):
        raise UnknownIdError(f"{id!r} is a {kind_of(found)}, and not a task")
    return found


def _is_own(settings: ConnectionSettings) -> bool:
    """Whether nobody but this user can have submitted it: the engine's socket is this user's."""
    scheme, _, path = settings.endpoint.partition(":")
    try:
        return scheme == "unix" and Path(path).stat().st_uid == os.getuid()
    except OSError:
        return False


def _ask(task: Task, settings: ConnectionSettings) -> None:
    if not sys.stdin.isatty():
        raise ReplayError(
            f"task {task.id} may be another's, and to run it is to run its code with your rights: "
            "say --yes if you trust who submitted it"
        )
    options = task.options
    whose = f" of {options.application_name}" if options and options.application_name else ""
    click.confirm(
        f"Task {task.id}{whose} at {settings.endpoint} may be another's: to run it is to run its "
        "code with your rights. Run it?",
        abort=True,
    )


def _tell_saved(task: Task, folder: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"task": task.id, "output": str(folder)})
    else:
        click.echo(f"task {task.id} in {folder / FILE}; run it: armoflow replay {folder}")


def _run(path: Path, data: Path | None, *, debug: bool, as_json: bool) -> int:
    """Run it in a process with the environment of a worker."""
    dump = read_dump(path, data)
    with (
        ending_in_order(),
        tempfile.TemporaryDirectory(prefix="armoflow-") as directory,
        _found(dump) as around,
    ):
        command = [around.python or sys.executable, "-m", "armoflow.replay", str(path)]
        command += ["--within", directory]
        command += ["--data", str(data)] if data is not None else []
        command += ["--pdb"] * debug + ["--json"] * as_json
        sys.stdout.flush()
        return subprocess.run(command, env=around.variables, check=False).returncode


@contextmanager
def _found(dump: TaskDump) -> Iterator[Interpreter]:
    request = dump.request
    payload = dump.data(request.payload_id).read_bytes()
    try:
        with interpreter_for(payload, request.expected_output_keys) as around:
            yield around
    except RequirementsError as error:
        raise ReplayError(
            f"the task {error}; `{Path(sys.executable).name} -m armoflow.replay` runs one that was "
            "saved (--save) with what is installed here"
        ) from error
