"""A result, as a client knows it: where it stands, what became of it, who needs it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


class ResultState(enum.Enum):
    """What the client knows of a result."""

    PLANNED = "planned"
    CREATED = "created"
    COMPLETED = "completed"
    ABORTED = "aborted"
    DELETED = "deleted"


class ResultHandle:
    """A result to be: named by the planner, given its id when its batch is submitted.

    The planner, the tasks that still need the result and the futures on it hold the handle; when
    the last of them lets go, ``on_release`` is called with the id and the size (bytes, where it is
    known), and the data can be deleted.
    """

    __slots__ = ("__weakref__", "id", "name", "on_release", "size", "state")

    def __init__(self, name: str = "", id: str = "") -> None:
        self.name = name
        self.id = id
        self.size = 0
        self.state = ResultState.PLANNED if not id else ResultState.CREATED
        self.on_release: Callable[[str, int], None] | None = None

    def __del__(self) -> None:
        if self.on_release is not None and self.id:
            self.on_release(self.id, self.size)

    def __repr__(self) -> str:
        return f"<ResultHandle {self.name!r} {self.id or 'without id'} {self.state.value}>"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a result was aborted: the task that owned it, its final status and its error text.

    Attributes:
        partition: Where it ran, if the engine says so.
    """

    task_id: str
    status: str
    error: str
    partition: str = ""


@dataclass(frozen=True, slots=True)
class ResultChange:
    """A result was completed or aborted.

    Attributes:
        result_id: Which.
        state: COMPLETED or ABORTED.
        size: Bytes of its data, where known.
        data: The data itself, where the engine sent it along.
        failure: Why it was aborted, where the engine sent it along.
        seconds: How long the task ran, where the engine says.
    """

    result_id: str
    state: ResultState
    size: int = 0
    data: bytes | None = None
    failure: Failure | None = None
    seconds: float | None = None
