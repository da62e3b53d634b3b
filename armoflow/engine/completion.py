"""From what an execution asked for to the command that commits it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from armoflow.agent.effects import TEMPORARY, CreatedResult, Data, Effects
from armoflow.engine.objects import ObjectStore
from armoflow.engine.options import decode_options
from armoflow.engine.records import NewTask, StateError, Stored
from armoflow.errors import OptionError


class Commit(NamedTuple):
    """The arguments of the state machine's commit of a success."""

    task_id: str
    created: Sequence[CreatedResult]
    stored: dict[str, Stored]
    children: Sequence[NewTask]


def prepare(
    task_id: str, effects: Effects, objects: ObjectStore, new_id: Callable[[], str]
) -> Commit:
    """Store what an execution produced and give its children and their payloads real ids.

    Raises:
        StateError: INVALID_ARGUMENT, if a child is malformed; nothing was stored.
    """
    if not effects.children:
        stored = {result_id: store(objects, data) for result_id, data in effects.data.items()}
        return Commit(task_id, effects.created, stored, ())
    names = {
        child.payload_id: new_id()
        for child in effects.children
        if child.payload_id.startswith(TEMPORARY)
    }
    unknown = names.keys() - effects.data.keys()
    if unknown:
        raise StateError("INVALID_ARGUMENT", f"a child task has no payload: {min(unknown)!r}")
    try:
        children = [
            NewTask(
                child.id or new_id(),
                names.get(child.payload_id, child.payload_id),
                child.dependencies,
                child.outputs,
                decode_options(child.options),
            )
            for child in effects.children
        ]
    except OptionError as error:
        raise StateError("INVALID_ARGUMENT", str(error)) from error
    created = [*effects.created, *(CreatedResult(result_id, "") for result_id in names.values())]
    stored = {
        names.get(result_id, result_id): store(objects, data)
        for result_id, data in effects.data.items()
    }
    return Commit(task_id, created, stored, children)


def store(objects: ObjectStore, data: Data) -> Stored:
    """Store bytes, or move a staged file in."""
    return objects.put(data) if isinstance(data, bytes) else objects.adopt(data.path, data.size)


def discard(effects: Effects) -> None:
    """Remove the staged files of an execution that has no effects."""
    for data in effects.staged_files():
        Path(data.path).unlink(missing_ok=True)
