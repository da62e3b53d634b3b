"""Who may call over the web: pages of the origins that were named, with the token.

Any page that a browser shows can send requests to this machine. So the ``Host`` must be a name of
the loopback, which keeps out pages whose own name was made to lead here; an ``Origin`` must be one
that the user named; and every call needs the token, in ``authorization: Bearer`` or as the first
part of the path, for tools that take an address and no header.

Over TLS the browser itself sees to it that no other name leads here; and where clients show
certificates, these are asked for in the token's place.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from armoflow.errors import OptionError
from armoflow.system.sockets import is_loopback

TOKEN_FILE: Final = "web-token"

EXPOSED: Final = "grpc-status, grpc-message"
_AGE: Final = "7200"


class Refusal(NamedTuple):
    """An HTTP status, and why."""

    status: int
    text: str


def load_token(state: Path) -> str:
    """The token of an engine: made once, so that links to it go on working after a restart.

    Raises:
        OSError: If it cannot be kept.
    """
    path = state / TOKEN_FILE
    if path.exists() and (token := path.read_text(encoding="utf-8").strip()):
        return token
    token = secrets.token_urlsafe(24)
    path.touch(mode=0o600)
    path.write_text(token, encoding="utf-8")
    return token


def check_origin(text: str) -> str:
    """An origin as browsers send it.

    Raises:
        OptionError: If it is none.

    Example:
        >>> check_origin("http://localhost:4200/")
        'http://localhost:4200'
    """
    origin = text.rstrip("/")
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != origin:
        raise OptionError(
            f"{text!r} is no origin: write scheme, host and port of the page that may call, as "
            "in http://localhost:4200"
        )
    return origin


class Access:
    """What is asked before a call.

    Args:
        token: What must be known; empty: a client's certificate is asked for instead.
        origins: The pages that may call, besides programs that are no browser.
        secure: Whether it is served over TLS.
    """

    def __init__(self, token: str, origins: Collection[str] = (), *, secure: bool = False) -> None:
        self.token = token
        self._origins = frozenset(origins)
        self._secure = secure

    def check_page(self, headers: Mapping[str, str]) -> Refusal | None:
        """Why a page may not call at all; None: it may.

        Example:
            >>> access = Access("t", ["http://localhost:4200"])
            >>> access.check_page({"host": "localhost:5002", "origin": "http://localhost:4200"})
            >>> access.check_page({"host": "evil.example"}).status
            403
        """
        host = headers.get("host", "")
        if not self._secure and not is_loopback(_name(host)):
            return Refusal(403, f"the host {host!r} is not a name of this machine's loopback")
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins:
            return Refusal(403, f"{origin!r} may not call: start with --web-origin {origin}")
        return None

    def check_caller(
        self, headers: Mapping[str, str], path: str, certificate: object
    ) -> tuple[str, Refusal | None]:
        """The path of the call without the token, and why it is refused."""
        if not self.token:
            shown = certificate is not None
            return path, None if shown else Refusal(400, "no client certificate was shown")
        first, _, rest = path.lstrip("/").partition("/")
        if hmac.compare_digest(first.encode(), self.token.encode()):
            return f"/{rest}", None
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if hmac.compare_digest(given.encode(), self.token.encode()):
            return path, None
        return path, Refusal(401, "the token is missing or not this one: use the address printed")

    def headers(self, request: Mapping[str, str]) -> list[tuple[str, str]]:
        """What a browser must be told for a page to see the reply."""
        origin = request.get("origin")
        if origin is None or origin not in self._origins:
            return []
        return [
            ("access-control-allow-origin", origin),
            ("access-control-expose-headers", EXPOSED),
            ("vary", "origin"),
            *([] if self.token else [("access-control-allow-credentials", "true")]),
        ]

    def preflight_headers(self, request: Mapping[str, str]) -> list[tuple[str, str]]:
        """The answer to the browser's question whether a page may call."""
        allowed = [
            *self.headers(request),
            ("access-control-allow-methods", "POST"),
            ("access-control-max-age", _AGE),
        ]
        if asked := request.get("access-control-request-headers"):
            allowed.append(("access-control-allow-headers", asked))
        if request.get("access-control-request-private-network") == "true":
            allowed.append(("access-control-allow-private-network", "true"))
        return allowed


def _name(host: str) -> str:
    """The name in a ``Host`` header."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
