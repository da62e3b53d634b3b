"""From what an execution asked for to the command that commits it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from armoflow.agent.effects import TEMPORARY, CreatedResult, Effects, ResultData, StagedFile
from armoflow.engine.data_files import unlink
from armoflow.engine.engine_options import decode_options
from armoflow.engine.objects import ObjectStore
from armoflow.engine.records import (
    NewTask,
    ResultRecord,
    StateError,
    Stored,
    TaskRecord,
    make_tuple,
)
from armoflow.errors import OptionError
from armoflow.protocol.frames import PAYLOAD_PREFIX


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
        StorageError: If some of it cannot be stored: nothing was, it may be tried again.
    """
    if not effects.children:
        stored = store_all(effects.data, objects)
        return make_tuple(Commit, (task_id, effects.created, stored, ()))
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
    created = [
        *effects.created,
        *(CreatedResult(result_id, PAYLOAD_PREFIX) for result_id in names.values()),
    ]
    stored = {
        names.get(result_id, result_id): data
        for result_id, data in store_all(effects.data, objects).items()
    }
    return Commit(task_id, created, stored, children)


def check_own(
    task: TaskRecord,
    result_ids: Set[str],
    created: Iterable[CreatedResult],
    results: Mapping[str, ResultRecord],
) -> None:
    """Refuse data for results that are not the task's to complete.

    These are its expected outputs and what it has created; the reference engine compares nothing.

    Args:
        task: The task.
        result_ids: What it has data for.
        created: What it has created in this execution.
        results: All that exist.

    Raises:
        StateError: PERMISSION_DENIED.
    """
    outputs = task.outputs
    if len(outputs) == 1 == len(result_ids) and outputs[0] in result_ids:
        return  # as by far the most are
    others = result_ids - set(outputs)
    if not others:
        return
    for result_id in others - {result.id for result in created}:
        record = results.get(result_id)
        if record is None:
            continue  # deleted meanwhile, or a payload that has no result yet
        own = task.id in (record.created_by, record.owner_task_id)
        if not own or record.session_id != task.session_id:
            raise StateError(
                "PERMISSION_DENIED",
                f"task {task.id} may not complete result {result_id}: it is neither an expected "
                "output of the task nor a result that it created",
            )


def store_all(
    effects_data: dict[str, ResultData], objects: ObjectStore, keys: Iterable[str] | None = None
) -> dict[str, Stored]:
    """Store all data of an execution, or some of it; if some cannot be stored, none is."""
    stored: dict[str, Stored] = {}
    try:
        for result_id in effects_data if keys is None else keys:
            data = effects_data[result_id]
            if isinstance(data, bytes):
                stored[result_id] = objects.put(data)
            else:  # a staged file is moved in
                stored[result_id] = objects.adopt(data.path, data.size)
    except (StateError, MemoryError):
        give_back(effects_data, stored, objects)
        raise
    return stored


def give_back(
    effects_data: dict[str, ResultData], stored: Mapping[str, Stored], objects: ObjectStore
) -> None:
    """Have data of an execution as it was before it was stored."""
    for result_id, done in stored.items():
        data = effects_data[result_id]
        if isinstance(data, StagedFile):
            path = objects.disown(done.opaque_id)
            effects_data[result_id] = StagedFile(str(path), data.size)
        else:
            objects.delete([done.opaque_id])


def discard(effects: Effects) -> None:
    """Remove the staged files of an execution that has no effects."""
    if effects.data:
        unlink([Path(data.path) for data in effects.staged_files()])
