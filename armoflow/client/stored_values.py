"""What a client stores in its engine beside graphs: what was put, with a name or without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from armoflow.client.loop import LoopThread
from armoflow.client.put import Put
from armoflow.codec.container import Buffer
from armoflow.codec.envelope import unpack_envelope
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import dumps, loads
from armoflow.codec.recording import removed
from armoflow.codec.unreadable import unreadable
from armoflow.errors import ArmoflowError, DataLostError, SerializationError
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.named.values import NamedValues, StoredValue
from armoflow.orchestrator.planned import PlanPiece, SlotRange
from armoflow.orchestrator.planning.call_arguments import value_parts

if TYPE_CHECKING:
    from armoflow.client.client import Client
    from armoflow.orchestrator.orchestrator import Orchestrator
    from armoflow.protocol.submission import WireOptions


class StoredValues:
    """The values that one client stores.

    Args:
        client: The client.
        loop: Its loop.
        orchestrator: Has the session in which they are.
        options: Default task options of sessions that are made for values with names.
    """

    def __init__(
        self, client: Client, loop: LoopThread, orchestrator: Orchestrator, options: WireOptions
    ) -> None:
        self._client = client
        self._loop = loop
        self._orchestrator = orchestrator
        self._session_options = options

    def put(self, value: Any) -> Put[Any]:
        """Store a value once."""
        parts = self._value_parts(value)
        ended = self._orchestrator.sessions_ended
        return Put(self._client, self.store("put", parts), sessions_ended=ended)

    def _value_parts(self, value: Any) -> list[Buffer]:
        """The stored form of a value, whose classes tasks will know."""
        modules: set[str] = set()
        others: set[str] = set()
        code: set[Any] = set()
        try:
            parts = value_parts(dumps(value, None, modules, others, code))
        except SerializationError as error:
            raise SerializationError(f"the value given to put(): {error}") from error.__cause__
        self._orchestrator.book.add_modules(modules, code)
        self._orchestrator.book.add_packages(others)
        return parts

    def put_named(self, value: Any, name: str, *, replace: bool) -> Put[Any]:
        """Store a value under a name."""
        parts = self._value_parts(value)
        stored = self._loop.call(self._named_values.put(name, parts, replace=replace))
        return self._refer(name, stored)

    def get(self, name: str) -> Any:
        """The value of a name."""
        data = self._loop.call(self._named_values.fetch(name))
        (slot,) = unpack_envelope(data)
        try:
            return loads(Pickled(slot.data, slot.buffers))
        except (ArmoflowError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise unreadable(f"what was stored as {name!r}", slot.data, error) from error

    def refer(self, name: str) -> Put[Any]:
        """A reference to the value of a name."""
        return self._refer(name, self._loop.call(self._named_values.find(name)))

    def _refer(self, name: str, stored: StoredValue) -> Put[Any]:
        constant = Constant.stored(name, stored.result_id, stored.session_id)
        return Put(self._client, constant, sessions_ended=None, name=name)

    def forget(self, name: str) -> None:
        """Remove the value of a name."""
        self._loop.call(self._named_values.remove(name))

    @property
    def _named_values(self) -> NamedValues:
        return NamedValues(self._orchestrator.transport, self._session_options)

    def store(self, name: str, parts: Sequence[Buffer]) -> Constant:
        """Store data in the open session."""
        return self._loop.call(self._orchestrator.store(name, parts))

    def read(self, constant: Constant) -> Any:
        """The value of a constant that was put, read back."""

        async def fetch() -> Any:
            session_id = constant.session_id or await self._orchestrator.session()
            (data,) = await self._orchestrator.transport.fetch(session_id, [constant.result_id])
            if isinstance(data, DataLostError):
                named = bool(constant.session_id)
                told = removed(constant.name, data) if named else f"what was put is gone: {data}"
                raise DataLostError(told) from data
            return data

        return self._loop.call(fetch())

    def delete(self, pieces: Sequence[PlanPiece]) -> None:
        """Delete what the engine has stored of items."""
        orchestrator = self._orchestrator
        ids = list({piece.result.id for piece in pieces if isinstance(piece, SlotRange)})

        async def delete() -> None:
            await orchestrator.transport.delete(await orchestrator.session(), ids)

        self._loop.call(delete())
