"""A task that is a whole subgraph: its calls are put together again, as if a task returned them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from armoflow.codec.envelope import SlotKind
from armoflow.codec.payload import Payload, Stage
from armoflow.codec.pickling import loads
from armoflow.codec.unreadable import unreadable
from armoflow.errors import ArmoflowError
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CallNode
from armoflow.worker.attempts import describe
from armoflow.worker.failures import ItemFailure, UnreadableDataError
from armoflow.worker.function_cache import FunctionCache
from armoflow.worker.inputs import Inputs, writable
from armoflow.worker.job import as_task, options_of


def build(payload: Payload, inputs: Inputs, code: FunctionCache) -> Delayed[Any]:
    """The last call of a task's subgraph.

    Args:
        payload: The task's.
        inputs: What it reads.
        code: Has the functions.

    Raises:
        ItemFailure: If the code of a call, or its arguments, cannot be read.
    """
    options = options_of(payload.settings)
    tasks: dict[tuple[str, str], Any] = {}
    calls: list[Delayed[Any] | ItemFailure] = []

    def resolve(reference: Any) -> Any:
        if reference[0] != "call":
            return inputs.resolve(reference)
        call = calls[reference[1]]
        if isinstance(call, ItemFailure):
            raise call
        return call

    for stage in payload.stages:
        key = (stage.function.digest, stage.name)
        try:
            if key not in tasks:
                found = code.function(replace(payload, name=stage.name, function=stage.function))
                tasks[key] = as_task(found.function, stage.name, options)
            args, kwargs = _arguments(stage, resolve)
        except ItemFailure as failure:
            # Whoever reads it has its name in the path; the last one's is told by the task itself.
            if failure.kind is not SlotKind.SKIPPED or stage is payload.stages[-1]:
                raise
            calls.append(ItemFailure(failure.record.via(stage.name), SlotKind.SKIPPED))
            continue
        except Exception as error:
            raise describe(error, stage.name, versions=payload.versions) from error
        calls.append(Delayed(CallNode(tasks[key], args, kwargs)))
    last = calls[-1]
    assert isinstance(last, Delayed)
    return last


def _arguments(stage: Stage, resolve: Callable[[Any], Any]) -> tuple[tuple[Any, ...], Any]:
    pickled = stage.arguments
    if pickled is None:
        return (), {}
    try:
        args, kwargs = loads(writable(pickled), resolve)
    except (ArmoflowError, ItemFailure, UnreadableDataError):
        raise
    except BaseException as error:
        what = f"an argument of task {stage.name!r}"
        raise unreadable(what, pickled.data, error) from error
    return args, kwargs
