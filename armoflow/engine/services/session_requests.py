"""What a client asks on a stream at the engine's socket instead of by calls: see the frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from armoflow.config import CHUNK_BYTES
from armoflow.engine.core import Engine
from armoflow.engine.core_version import core_version
from armoflow.engine.engine_options import decode_options
from armoflow.engine.records import ApiOptions
from armoflow.engine.services.call_log import CallLog
from armoflow.engine.services.replies import Replies
from armoflow.engine.session_changes import cancel_session, close_session, open_session
from armoflow.protocol.frames import Kind


class SessionRequests:
    """Answers them; whoever is connected there may do everything.

    Args:
        engine: The engine.
        calls: Counts them as the calls that they stand for.
        replies: Where the answers go.

    Attributes:
        handlers: What answers each kind.
    """

    def __init__(self, engine: Engine, calls: CallLog, replies: Replies) -> None:
        self._engine = engine
        self._calls = calls
        self._replies = replies
        self.handlers: Mapping[int, Callable[..., Any]] = {
            Kind.INTRODUCE: self._introduce,
            Kind.OPEN: self._open,
            Kind.CLOSE: self._close,
            Kind.STOP: self._stop,
        }

    def _introduce(self, number: int) -> None:
        self._calls.record("Extension/Introduce")
        partitions = self._engine.partitions
        said = {
            "core_version": core_version(extensions=True),
            "chunk_bytes": CHUNK_BYTES,
            "partitions": [(name, partitions[name].pod_max) for name in sorted(partitions)],
        }
        self._replies.reply(number, said)

    def _open(self, number: int, options: Mapping[str, Any], partitions: Sequence[str]) -> None:
        self._calls.record("Sessions/CreateSession")
        self._replies.answer(number, self._open_admitted(options, partitions))

    async def _open_admitted(self, options: Mapping[str, Any], partitions: Sequence[str]) -> str:
        engine = self._engine
        await engine.admission.admit()
        defaults = decode_options(options) or ApiOptions()
        return await open_session(engine, defaults, partitions, leased=True)

    def _close(self, number: int, session_id: str) -> None:
        self._calls.record("Sessions/CloseSession")
        self._replies.answer(number, close_session(self._engine, session_id, tidied=True))

    def _stop(self, number: int, session_id: str) -> None:
        self._calls.record("Sessions/CancelSession")
        self._replies.answer(number, cancel_session(self._engine, session_id))
