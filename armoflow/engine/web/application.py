"""An ASGI application that passes calls on to the engine, and its replies back."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping, MutableMapping, Sequence
from typing import Any, Final

import grpc

from armoflow.config import REQUEST_LIMIT
from armoflow.engine.access.authentication import COMMON_NAME, FINGERPRINT, Certificate
from armoflow.engine.web.grpc_web import (
    BrokenBodyError,
    Frames,
    is_text,
    message_frame,
    parse_timeout,
    trailers_frame,
)
from armoflow.engine.web.web_access import Access, Refusal
from armoflow.system.asgi import AsgiReceive, AsgiScope, AsgiSend

_OWN: Final = frozenset(
    {
        *("host", "origin", "referer", "connection", "cookie", "authorization", "user-agent"),
        *("content-type", "content-length", "transfer-encoding", "te", "trailer", "upgrade"),
        *("accept", "accept-encoding", "accept-language", "cache-control", "pragma", "dnt"),
        *(COMMON_NAME, FINGERPRINT),
        *("grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "x-grpc-web", "x-user-agent"),
    }
)
"""Headers that are the way's, not the call's; as are those of ``sec-``.

Whose certificate was shown is told by who has seen it, never by who shows it.
"""

CERTIFICATE: Final = "certificate"
"""Where a connection's state has the client's certificate."""


class WebApplication:
    """Serves gRPC-Web.

    Any method of any service is passed on, whatever its kind: what has several requests has them
    all in one body.

    Args:
        channel: To the engine.
        access: Who may call.
    """

    def __init__(self, channel: grpc.aio.Channel, access: Access) -> None:
        self._channel = channel
        self._access = access

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        method, path = scope["method"], scope["path"]
        refusal = self._access.check_page(headers)
        if refusal is None and method == "OPTIONS":
            await _answer(send, 204, self._access.preflight_headers(headers))
            return
        certificate: Certificate | None = scope.get("state", {}).get(CERTIFICATE)
        if refusal is None:
            path, refusal = self._access.check_caller(headers, path, certificate)
        text = is_text(headers.get("content-type", ""))
        if refusal is None and method != "POST":
            refusal = Refusal(405, "this is gRPC-Web: calls are POST requests")
        if refusal is None and text is None:
            refusal = Refusal(415, "this is gRPC-Web: send application/grpc-web or -text")
        if refusal is not None:
            await _answer(send, refusal.status, self._access.headers(headers), refusal.text)
            return
        reply = Reply(send, headers["content-type"], self._access.headers(headers), bool(text))
        body = Body(receive, Frames(text=bool(text), limit=REQUEST_LIMIT))
        await self._pass_on(path, headers, body, reply, _identity(certificate))

    async def _pass_on(
        self,
        path: str,
        headers: Mapping[str, str],
        body: Body,
        reply: Reply,
        identity: Sequence[tuple[str, str]],
    ) -> None:
        """Make the call, and end it when the caller has gone."""
        try:
            limit = parse_timeout(headers["grpc-timeout"]) if "grpc-timeout" in headers else None
            metadata = [_pair(name, value) for name, value in headers.items() if _is_calls(name)]
            metadata += identity
        except ValueError as error:
            await reply.end(3, str(error))
            return
        call = self._channel.stream_stream(path)(body.messages(), timeout=limit, metadata=metadata)
        leaving = asyncio.create_task(body.gone())
        leaving.add_done_callback(lambda _: call.cancel())
        try:
            async for message in call:
                await reply.write(message_frame(message))
        except grpc.aio.AioRpcError:
            pass  # its status is told below
        except asyncio.CancelledError:
            if body.fault is None:
                if leaving.done():
                    return  # nobody is there for a reply
                raise
        finally:
            leaving.cancel()
            call.cancel()
        if body.fault is not None:
            await reply.end(body.fault.code, str(body.fault))
        else:
            await reply.end(*await _status(call))


async def _status(call: Any) -> tuple[int, str, list[tuple[str, str]]]:
    """How a call ended: its code, its text, and the trailers."""
    trailers = await call.trailing_metadata() or ()
    texts = [(name, value) for name, value in trailers if isinstance(value, str)]
    return (await call.code()).value[0], await call.details() or "", texts


class Body:
    """The body of a request, and whether its sender is still there.

    Args:
        receive: ASGI's.
        frames: What makes messages of it.

    Attributes:
        fault: What is wrong with it.
    """

    def __init__(self, receive: AsgiReceive, frames: Frames) -> None:
        self._receive = receive
        self._frames = frames
        self._read = asyncio.Event()
        self.fault: BrokenBodyError | None = None

    async def messages(self) -> AsyncIterator[bytes]:
        """The messages, as they come."""
        try:
            more = True
            while more:
                event = await self._receive()
                if event["type"] == "http.disconnect":
                    return
                for message in self._frames.feed(event.get("body", b"")):
                    yield message
                more = event.get("more_body", False)
            self._frames.end()
        except BrokenBodyError as fault:
            self.fault = fault
            raise
        finally:
            self._read.set()

    async def gone(self) -> None:
        """Wait until the sender has gone, or has sent something that is no request."""
        await self._read.wait()
        while self.fault is None and (await self._receive())["type"] != "http.disconnect":
            pass


class Reply:
    """The reply to one call.

    Args:
        send: ASGI's.
        content_type: That of the request.
        headers: For the browser.
        text: Whether it is base64.
    """

    def __init__(
        self, send: AsgiSend, content_type: str, headers: list[tuple[str, str]], text: bool
    ) -> None:
        self._send = send
        self._headers = [("content-type", content_type), *headers]
        self._text = text
        self._begun = self._ended = False

    async def write(self, frame: bytes, *, last: bool = False) -> None:
        """Send a frame."""
        if not self._begun:
            self._begun = True
            await self._send(_start(200, self._headers))
        body = base64.b64encode(frame) if self._text else frame
        await self._send({"type": "http.response.body", "body": body, "more_body": not last})

    async def end(
        self, status: int, text: str, others: list[tuple[str, str]] | None = None
    ) -> None:
        """Send the trailers, once."""
        if not self._ended:
            self._ended = True
            await self.write(trailers_frame(status, text, others or ()), last=True)


def _identity(certificate: Certificate | None) -> Sequence[tuple[str, str]]:
    """The headers that tell the engine who calls."""
    if certificate is None:
        return ()
    common_name, fingerprint = certificate
    # What no header can hold is in no list of users either.
    written = common_name if common_name.isascii() and common_name.isprintable() else ""
    return (COMMON_NAME, written), (FINGERPRINT, fingerprint)


def _is_calls(name: str) -> bool:
    return name not in _OWN and not name.startswith(("sec-", "access-control-", ":"))


def _pair(name: str, value: str) -> tuple[str, str | bytes]:
    """A header as metadata; binary ones come as base64, often without padding."""
    if name.endswith("-bin"):
        return name, base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    return name, value


def _start(status: int, headers: list[tuple[str, str]]) -> MutableMapping[str, Any]:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


async def _answer(
    send: AsgiSend, status: int, headers: list[tuple[str, str]], text: str = ""
) -> None:
    if text:
        headers = [*headers, ("content-type", "text/plain; charset=utf-8")]
    await send(_start(status, headers))
    await send({"type": "http.response.body", "body": text.encode()})
