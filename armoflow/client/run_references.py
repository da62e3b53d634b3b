"""Futures and ``put`` references among the arguments of a named run: they go with its session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from armoflow.client.future import Future
from armoflow.client.put import PlanReferences, Put, check_owner
from armoflow.codec.container import Buffer
from armoflow.orchestrator.constant import Constant

if TYPE_CHECKING:
    from armoflow.client.client import Client

NO_SESSION: Final = -1
"""In place of how many of a client's sessions had ended: what is of a run is of none of them."""


class RunStore:
    """Where a named run stores values.

    Args:
        key: Seals the errors of its tasks.
        store: Stores data in its session.
    """

    sessions_ended = NO_SESSION - 1  # no future's: all values are stored anew

    def __init__(self, key: bytes, store: Callable[[str, Sequence[Buffer]], Constant]) -> None:
        self.key = key
        self.store = store

    def holds(self, future: Future[Any]) -> bool:
        """Its value is stored anew anyway."""
        return False


class RunReferences(PlanReferences):
    """Resolves them: what they stand for is stored in the run's own session.

    Args:
        client: The client whose references these must be.
        key: Seals the errors of the run's tasks.
        store: Stores data in the run's session.
        read: Reads the data of what was put.
    """

    def __init__(
        self,
        client: Client,
        key: bytes,
        store: Callable[[str, Sequence[Buffer]], Constant],
        read: Callable[[Constant], Any],
    ) -> None:
        super().__init__(client, RunStore(key, store), ())
        self._read = read
        self._store = store
        self._stored: dict[Put[Any] | Future[Any], Constant] = {}

    def resolve(self, value: Any) -> Constant:
        """What a future or ``put`` reference stands for, stored in the run's session."""
        check_owner(value, self._client)
        constant = self._stored.get(value)
        if constant is None:
            if isinstance(value, Put):
                constant = self._store("put", [self._read(value.constant)])
            else:
                self.wait(value)
                constant = self.anew(value)
            self._stored[value] = constant
        return constant
