"""Constants on their way to the engine: each goes up once, and tasks that need it wait for it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable

from armoflow.errors import SessionEndedError
from armoflow.orchestrator.constant import Constant
from armoflow.protocol.transport import Transport


class Storing:
    """Stores what plans have before the tasks that need it; lives in the loop's thread.

    Args:
        transport: The way to the engine.
        session: Gives the id of the session to store in.
        stored: Called with each once it is stored, or cannot be.
        release: Called with id and size of a stored one that nobody needs any more.
        session_ended: Called when the engine says that it has ended the session.
    """

    def __init__(
        self,
        transport: Transport,
        session: Callable[[], Awaitable[str]],
        *,
        stored: Callable[[Constant], None],
        release: Callable[[str, int], None],
        session_ended: Callable[[SessionEndedError], None],
    ) -> None:
        self._transport = transport
        self._session = session
        self._tell = stored
        self._release = release
        self._session_ended = session_ended
        self._running: dict[Constant, asyncio.Task[None]] = {}

    def store(self, constant: Constant) -> None:
        """Begin to store one, unless it is stored, or was begun."""
        if constant.result_id or constant in self._running:
            self._tell(constant)
            return
        task = asyncio.create_task(self._store(constant))
        self._running[constant] = task
        task.add_done_callback(functools.partial(self._stored, constant))

    async def wait_for(self, constants: Iterable[Constant]) -> None:
        """Wait until those of them that are being stored are, or cannot be."""
        waited = {self._running[constant] for constant in constants if constant in self._running}
        if waited:
            await asyncio.wait(waited)

    def interrupt(self, error: BaseException) -> None:
        """Store none of them after all: whoever needs them is told why."""
        for constant, storing in self._running.items():
            constant.error = error
            storing.cancel()

    def stop(self) -> None:
        """The client ends."""
        for storing in self._running.values():
            storing.cancel()

    async def _store(self, constant: Constant) -> None:
        try:
            session_id = await self._session()
            parts = constant.parts or ()
            result_id = await self._transport.store(session_id, constant.name, parts)
            constant.stored_as(result_id, self._release)
        except Exception as error:  # told to every task that needs it
            constant.error = error
            if isinstance(error, SessionEndedError):
                self._session_ended(error)

    def _stored(self, constant: Constant, _: asyncio.Task[None]) -> None:
        self._running.pop(constant, None)
        self._tell(constant)
