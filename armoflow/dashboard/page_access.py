"""Who may read: whoever knows the token, from a page of the dashboard's own, at this machine.

A web page can make a browser send requests here, and by a name of its own that leads to this
machine (DNS rebinding) could read the replies; another user of the machine can connect. So the
``Host`` must be a name of the loopback, a foreign ``Origin`` is refused, and data is given for a
token only, in a header that no foreign page can set. The token is in the link behind the ``#``,
which browsers send nowhere. Nothing can be changed here: only GET is served.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from armoflow.system.asgi import AsgiReceive, AsgiScope, AsgiSend
from armoflow.system.sockets import is_loopback

DATA = "/api/"
"""Begins the paths that a token is needed for."""

HEADERS = {
    # Nothing is loaded from elsewhere, and no page shows this one within itself.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' "
    "'unsafe-inline'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def refusal(method: str, path: str, headers: Mapping[str, str], token: str) -> tuple[int, str]:
    """Why a request is refused, as a status and a text; (200, "") if it is not.

    Example:
        >>> good = {"host": "127.0.0.1:8787", "authorization": "Bearer t"}
        >>> refusal("GET", "/api/sessions", good, "t")
        (200, '')
        >>> refusal("GET", "/api/sessions", {"host": "127.0.0.1:8787"}, "t")[0]
        401
        >>> refusal("GET", "/", {"host": "evil.example"}, "t")[0]
        403
    """
    host = headers.get("host", "")
    if method not in ("GET", "HEAD"):
        return 405, "only GET is served: nothing can be changed here"
    if not is_loopback(urlsplit(f"//{host}").hostname or ""):
        return 403, f"the host {host!r} is not a name of this machine's loopback"
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return 403, f"the origin {origin!r} is another page"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and path != "/":
        return 403, "another page asks for this"
    if path.startswith(DATA):
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            return 401, "the token is missing or not this one: open the link that was printed"
    return 200, ""


class ReaderGuard:
    """Lets through what may be read, with headers that keep it there.

    Args:
        app: What answers.
        token: What must be known.
    """

    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        status, why = refusal(scope["method"], scope["path"], headers, self._token)

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if why:
            await PlainTextResponse(why + "\n", status)(scope, receive, with_headers)
        else:
            await self._app(scope, receive, with_headers)
