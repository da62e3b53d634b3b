"""What the batch stream tells of sessions, for whoever watches them; over reconnections, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any

from armoflow.errors import EngineError, SessionEndedError
from armoflow.protocol.caller import Caller
from armoflow.protocol.frames import SESSION_ENDED, Kind
from armoflow.protocol.result_handle import Failure, ResultChange, ResultState
from armoflow.protocol.stream import RefusedError, Stream

_STATES = {2: ResultState.COMPLETED, 3: ResultState.ABORTED, 4: ResultState.DELETED}
"""By the API's number (result_status.proto)."""


class StreamWatch:
    """A stream, and what it tells of sessions, for whoever watches them.

    Args:
        channel: As of :class:`Stream`.
        caller: Who calls, and where.

    Attributes:
        stream: The stream.
        listening: Told of what tasks write, too, from the next session on.
    """

    def __init__(self, channel: Callable[[], Any], caller: Caller) -> None:
        self.stream = Stream(channel, caller, self._changed, self._connected)
        self.listening = False
        self._news: dict[str, asyncio.Queue[Sequence[ResultChange] | SessionEndedError]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def stop(self) -> None:
        """The client ends."""
        for task in self._tasks:
            task.cancel()

    async def watch(self, session_id: str) -> AsyncGenerator[Sequence[ResultChange], None]:
        """Changes of outputs, for ever; an empty batch says: (re)connected, poll what is open."""
        news: asyncio.Queue[Sequence[ResultChange] | SessionEndedError] = asyncio.Queue()
        self._news[session_id] = news
        try:
            requests = [self.ask(Kind.WATCH, session_id), *self._listen(session_id)]
            await asyncio.gather(*requests)
            yield ()
            while True:
                changes = await news.get()
                if isinstance(changes, SessionEndedError):
                    raise changes
                yield changes
        finally:
            del self._news[session_id]

    async def ask(self, kind: Kind, session_id: str, *arguments: Any) -> None:
        """Make a request for a session; if the engine has ended that, who watches it is told, too.

        Raises:
            SessionEndedError: If it has.
            EngineError: If the request is refused for another reason.
        """
        try:
            await self.stream.request(kind, session_id, *arguments)
        except RefusedError as error:
            if error.code != SESSION_ENDED:
                raise
            ended = SessionEndedError(str(error), error.code, session_id)
            news = self._news.get(session_id)
            if news is not None:
                news.put_nowait(ended)
            raise ended from error

    def _changed(self, session_id: str, changes: list[Any]) -> None:
        news = self._news.get(session_id)
        if news is not None:
            news.put_nowait([read_change(change) for change in changes])

    def _connected(self) -> None:
        """After a reconnection the sessions are watched again, and what is open is polled."""
        for session_id in self._news:
            task = asyncio.create_task(self._watch_again(session_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _watch_again(self, session_id: str) -> None:
        try:
            await asyncio.gather(self.ask(Kind.WATCH, session_id), *self._listen(session_id))
        except EngineError:
            return  # the session is gone; whoever polls it finds out, or was told
        news = self._news.get(session_id)
        if news is not None:
            news.put_nowait(())

    def _listen(self, session_id: str) -> list[Coroutine[Any, Any, Any]]:
        return [self.stream.request(Kind.LISTEN, session_id)] if self.listening else []


def read_change(change: Sequence[Any]) -> ResultChange:
    """A change as a frame has it."""
    result_id, status, size, data, failure, seconds = change
    return ResultChange(
        result_id,
        _STATES[status],
        size,
        data,
        Failure(*failure) if failure is not None else None,
        seconds,
    )
