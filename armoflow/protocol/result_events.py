"""The events of a session's results: subscribed to again whenever the stream ends."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

import grpc
from armonik.protogen.common import events_common_pb2

from armoflow.protocol import messages
from armoflow.protocol.result_handle import ResultChange, ResultState
from armoflow.protocol.rpc_errors import describe, is_ambiguous

if TYPE_CHECKING:
    from armoflow.protocol.standard import StandardTransport

logger = logging.getLogger(__name__)

_EOF = grpc.aio.EOF


class ResultEvents:
    """Watches the results of sessions.

    Args:
        transport: Whose engine.
        service: The stub of the events service.

    Attributes:
        refused: Sessions that may not be watched.
    """

    def __init__(self, transport: StandardTransport, service: Any) -> None:
        self.refused: set[str] = set()
        self._transport = transport
        self._service = service
        self._begun: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._watched: dict[str, Any] = {}

    def begun(self, session_id: str) -> None:
        """Tasks were submitted to a session: there is something to watch."""
        self._begun[session_id].set()

    async def watch(
        self, session_id: str, prefixes: Sequence[str]
    ) -> AsyncGenerator[Sequence[ResultChange], None]:
        """Changes of results, for ever; an empty batch says: (re)connected, poll what is open.

        Args:
            session_id: Of which session.
            prefixes: What the names of the results begin with.
        """
        request = events_common_pb2.EventSubscriptionRequest(
            session_id=session_id,
            results_filters=messages.named_filter(prefixes),
            returned_events=[events_common_pb2.EVENTS_ENUM_RESULT_STATUS_UPDATE],
        )
        pause = 0.05
        told = False
        await self._begun[session_id].wait()
        while True:
            stream = self._watched[session_id] = self._service.GetEvents(request)
            try:
                yield ()  # no engine says when it has subscribed: headers come with the first event
                while (message := await stream.read()) is not _EOF:
                    pause = 0.05
                    update = message.result_status_update
                    state = messages.RESULT_STATES.get(update.status)
                    # Data is deleted when the client asks for it: no news.
                    if state is not None and state is not ResultState.DELETED:
                        yield (ResultChange(update.result_id, state),)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
                    level = logging.INFO if is_ambiguous(error) else logging.WARNING
                    logger.log(level, "the event stream ended: %s", describe(error))
                elif not told:
                    told = True
                    self.refused.add(session_id)
                    refused = self._transport.refused(error, "watching", request)
                    logger.warning("results are asked for again and again: %s", refused)
            except asyncio.CancelledError:
                # Cancelled is the stream, or who watches.
                if self._watched.get(session_id) is stream:
                    raise
            finally:
                stream.cancel()
                self._watched.pop(session_id, None)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    def watch_again(self, session_id: str) -> None:
        """Changes were missed: subscribe anew."""
        stream = self._watched.pop(session_id, None)
        if stream is not None:
            stream.cancel()
