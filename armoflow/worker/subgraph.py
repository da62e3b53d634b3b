"""A task that is a whole subgraph: its calls are put together again, as if a task returned them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

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
    calls: list[Delayed[Any]] = []

    def resolve(reference: Any) -> Any:
        if reference[0] == "call":
            return calls[reference[1]]
        return inputs.resolve(reference)

    for stage in payload.stages:
        key = (stage.function.digest, stage.name)
        try:
            if key not in tasks:
                found = code.function(replace(payload, name=stage.name, function=stage.function))
                tasks[key] = as_task(found.function, stage.name, options)
            args, kwargs = _arguments(stage, resolve)
        except ItemFailure:
            raise
        except Exception as error:
            raise describe(error, stage.name, versions=payload.versions) from error
        calls.append(Delayed(CallNode(tasks[key], args, kwargs)))
    return calls[-1]


def _arguments(stage: Stage, resolve: Callable[[Any], Any]) -> tuple[tuple[Any, ...], Any]:
    pickled = stage.arguments
    if pickled is None:
        return (), {}
    try:
        args, kwargs = loads(writable(pickled), resolve)
    except (ArmoflowError, ItemFailure, UnreadableDataError):
        raise
    except Exception as error:
        what = f"an argument of task {stage.name!r}"
        raise unreadable(what, pickled.data, error) from error
    return args, kwargs
