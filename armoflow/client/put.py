"""Data that is uploaded once and used by many tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from armoflow.client.future import Future
from armoflow.errors import ForeignReferenceError, GraphError
from armoflow.orchestrator.planned import Constant, LocalItems, SlotRange

if TYPE_CHECKING:
    from armoflow.client.client import Client

T = TypeVar("T")


class Put(Generic[T]):
    """What :meth:`Client.put` returns: give it to tasks in place of the value."""

    def __init__(self, client: Client, constant: Constant, value: T | None = None) -> None:
        self.client = client
        self.constant = constant
        self.value = value
        """The value itself, in the debug mode."""

    def __repr__(self) -> str:
        return f"<Put {self.constant.result_id}>"

    def __reduce__(self) -> Any:
        raise GraphError("a put reference cannot be pickled: give it to a task as an argument")


def check_owner(reference: Any, client: Client) -> None:
    """Refuse the future or ``put`` reference of another client.

    Raises:
        ForeignReferenceError: If it is one.
    """
    if reference.client is not client:
        kind = "Future" if isinstance(reference, Future) else "put reference"
        raise ForeignReferenceError(
            f"the {kind} {reference!r} belongs to another client: give its value, or submit it and "
            "what needs it with the same client"
        )


class References:
    """Resolves the futures and ``put`` references of one client inside arguments.

    Args:
        client: The client whose references these must be.
    """

    kinds = frozenset({Future, Put})

    def __init__(self, client: Client) -> None:
        self._client = client

    def resolve(self, value: Any) -> SlotRange | Sequence[SlotRange] | Constant:
        """What a future or ``put`` reference stands for; waits until a future is done.

        Raises:
            ForeignReferenceError: If it belongs to another client.
        """
        check_owner(value, self._client)
        if isinstance(value, Put):
            constant: Constant = value.constant
            return constant
        error = value.exception() if not value.is_collection else None
        if error is not None:
            raise error
        pieces = value.places()
        if any(isinstance(piece, LocalItems) for piece in pieces):
            stored: Put[Any] = self._client.put(value.result())
            return stored.constant
        ranges = [piece for piece in pieces if isinstance(piece, SlotRange)]
        return ranges if value.is_collection else ranges[0]
