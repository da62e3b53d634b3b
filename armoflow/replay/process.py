"""The process that a task is run again in: as a worker's, with what the task has to find there."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from armoflow.codec.bundle import read_payload
from armoflow.codec.container import Buffer
from armoflow.errors import EnvelopeError, RequirementsError
from armoflow.worker.environment import worker_environment
from armoflow.worker.installer import Installer
from armoflow.worker.virtual_environments import Shelf, environments_root, told


class Interpreter(NamedTuple):
    """What the process is started by, and with.

    Attributes:
        python: The interpreter; None: that of this process.
        variables: Its environment's variables.
    """

    python: str | None
    variables: dict[str, str]


@contextmanager
def interpreter_for(payload: Buffer, outputs: Sequence[str] = ()) -> Iterator[Interpreter]:
    """What a task's process is started with, which nobody removes meanwhile.

    What the task needs to have installed is where workers of this machine keep it, or is installed
    there now: it is the same environment.

    Args:
        payload: The task's payload.
        outputs: Its expected outputs.

    Raises:
        RequirementsError: If what it needs cannot be had here.
    """
    variables = worker_environment()
    needed = _requirements(payload, outputs)
    if not needed:
        yield Interpreter(None, variables)
        return
    try:
        home, lock = Shelf(environments_root()).get(needed, Installer(), threading.Event())
    except RequirementsError as error:
        raise RequirementsError(f"needs {told(needed)}: {error}") from error
    with lock:
        yield Interpreter(home.python, home.variables(variables))


def _requirements(payload: Buffer, outputs: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(read_payload(payload, outputs).settings.requirements)
    except EnvelopeError:  # its process tells what is wrong with it
        return ()
