"""``CreateTask``: how workers submitted children before ``SubmitTasks``, as one stream.

The stream is what every child has in common, then for each child a header, its payload in chunks
and the payload's end, and at last that there are no more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple


class CutShortError(Exception):
    """The stream ended before its last message."""


class DisorderError(Exception):
    """A message came where another had to be."""


class Creation(NamedTuple):
    """One child: the header, which names its inputs and outputs, and its payload."""

    header: Any
    payload: bytes


class CreationStream:
    """Reads the requests of one call.

    Args:
        requests: The requests.
    """

    def __init__(self, requests: AsyncIterator[Any]) -> None:
        self._requests = aiter(requests)

    async def next(self) -> Any:
        """The next message.

        Raises:
            CutShortError: If there is none.
        """
        try:
            return await anext(self._requests)
        except StopAsyncIteration:
            raise CutShortError("the stream ended before its last message") from None

    async def creations(self) -> list[Creation]:
        """What follows the first message, to the end.

        Raises:
            CutShortError: If the stream ends early.
            DisorderError: If something else comes than must.
        """
        creations: list[Creation] = []
        message = await self.next()
        while _is(message, "init_task", "header"):
            creations.append(Creation(message.init_task.header, await self._payload()))
            message = await self.next()
        if not creations or not _is(message, "init_task", "last_task"):
            raise DisorderError("after a task, another's header or the last message must come")
        return creations

    async def _payload(self) -> bytes:
        chunks: list[bytes] = []
        message = await self.next()
        while _is(message, "task_payload", "data"):
            chunks.append(message.task_payload.data)
            message = await self.next()
        if not chunks or not _is(message, "task_payload", "data_complete"):
            raise DisorderError("after a header, chunks of the payload and its end must come")
        return b"".join(chunks)


def _is(message: Any, kind: str, part: str) -> bool:
    return bool(
        message.WhichOneof("type") == kind and getattr(message, kind).WhichOneof("type") == part
    )
