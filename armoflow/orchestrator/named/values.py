"""Values that were put under a name: each in a session of its own, that no client's end ends.

The session is found by a label, as that of a named run is, on any ArmoniK. A name has one value:
who puts another has to say that it takes the place of the first.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from armoflow.content import DataPart
from armoflow.errors import DataLostError, NamedValueError
from armoflow.protocol.frames import VALUE_LABEL
from armoflow.protocol.submission import WireOptions
from armoflow.protocol.transport import LabelledSession, Transport

_PART = "value"


class StoredValue(NamedTuple):
    """Where the value of a name is.

    Attributes:
        session_id: Its session.
        result_id: Its result.
    """

    session_id: str
    result_id: str


class NamedValues:
    """The named values of an engine.

    Args:
        transport: The way to the engine.
        options: The options of their sessions.
    """

    def __init__(self, transport: Transport, options: WireOptions) -> None:
        self._transport = transport
        self._options = options

    async def put(self, name: str, parts: Sequence[DataPart], *, replace: bool) -> StoredValue:
        """Store a value under a name.

        Raises:
            NamedValueError: If the name has one already, and that is not to be replaced.
        """
        if not replace and await self._stored(name):
            raise _taken(name)
        session_id = await self._transport.shared.open(self._options, (VALUE_LABEL, name))
        try:
            own = StoredValue(session_id, await self._transport.store(session_id, _PART, parts))
            stored = await self._stored(name)
            if not replace and stored and stored[0] != own:
                raise _taken(name)  # somebody else was first in the same moment
        except BaseException:
            await self._transport.end_session(session_id)
            raise
        if replace:
            await self._end([one for one in stored if one != own])
        return own

    async def find(self, name: str) -> StoredValue:
        """Where the value of a name is.

        Raises:
            NamedValueError: If there is none.
        """
        stored = await self._stored(name)
        if stored:
            return stored[-1]
        sessions = await self._transport.shared.find(VALUE_LABEL)
        if any(session.value == name for session in sessions):
            raise NamedValueError(
                f"nothing is stored as {name!r} any more: it was removed, or its session was ended"
            )
        names = sorted({session.value for session in sessions if session.open})
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise NamedValueError(f"nothing was ever stored as {name!r} in this engine{hint}")

    async def fetch(self, name: str) -> bytes | bytearray | memoryview:
        """The data of the value of a name.

        Raises:
            NamedValueError: If there is none.
            DataLostError: If its data is gone.
        """
        stored = await self.find(name)
        (data,) = await self._transport.fetch(stored.session_id, [stored.result_id])
        if isinstance(data, DataLostError):
            raise DataLostError(f"what was stored as {name!r} is gone: {data}") from data
        return data

    async def remove(self, name: str) -> None:
        """Remove the value of a name.

        Raises:
            NamedValueError: If there is none.
        """
        await self.find(name)
        await self._end(await self._stored(name))

    async def _stored(self, name: str) -> list[StoredValue]:
        """The values that a name has, the oldest first; more than one only for a moment."""
        found: list[StoredValue] = []
        for session in await self._sessions(name):
            parts = await self._transport.shared.parts(session.id, _PART)
            found.extend(StoredValue(session.id, part.result_id) for part in parts)
        return found

    async def _sessions(self, name: str) -> list[LabelledSession]:
        found = await self._transport.shared.find(VALUE_LABEL, name)
        return [session for session in found if session.open]

    async def _end(self, values: Sequence[StoredValue]) -> None:
        for value in values:
            await self._transport.delete(value.session_id, [value.result_id])
            await self._transport.end_session(value.session_id)


def _taken(name: str) -> NamedValueError:
    return NamedValueError(
        f"something is stored as {name!r} already: take another name, or say replace=True"
    )
