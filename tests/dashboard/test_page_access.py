"""Who may read what the dashboard shows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from armoflow.dashboard.dashboard_server import bind
from armoflow.dashboard.page_access import ReaderGuard, new_token, refusal
from armoflow.errors import OptionError

HOST = {"host": "127.0.0.1:5080"}
TOKEN = {**HOST, "authorization": "Bearer secret"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", HOST, 200),
        ("GET", "/sessions/abc", HOST, 200),
        ("GET", "/assets/dashboard.js", HOST, 200),
        ("GET", "/api/overview", TOKEN, 200),
        ("GET", "/api/overview", {**TOKEN, "host": "localhost:9000"}, 200),
        ("GET", "/api/overview", {**TOKEN, "host": "[::1]:9000"}, 200),
        ("GET", "/api/overview", {**TOKEN, "origin": "http://127.0.0.1:5080"}, 200),
        ("GET", "/api/overview", {**TOKEN, "sec-fetch-site": "same-origin"}, 200),
        ("GET", "/api/overview", HOST, 401),
        ("GET", "/api/overview", {**HOST, "authorization": "Bearer secre"}, 401),
        ("GET", "/api/overview", {**HOST, "authorization": "Bearer secret\u00e9"}, 401),
        ("GET", "/api/overview", {**HOST, "authorization": "Basic secret"}, 401),
        ("GET", "/api/overview", {**TOKEN, "host": "evil.example:5080"}, 403),
        ("GET", "/", {"host": "evil.example"}, 403),
        ("GET", "/", {}, 403),
        ("GET", "/api/overview", {**TOKEN, "origin": "http://127.0.0.1:1"}, 403),
        ("GET", "/api/overview", {**TOKEN, "origin": "null"}, 403),
        ("GET", "/api/overview", {**TOKEN, "sec-fetch-site": "cross-site"}, 403),
        ("GET", "/assets/page.css", {**HOST, "sec-fetch-site": "same-site"}, 403),
        ("POST", "/api/overview", TOKEN, 405),
        ("DELETE", "/", TOKEN, 405),
    ],
)
def test_what_is_refused(method: str, path: str, headers: dict[str, str], status: int) -> None:
    found, why = refusal(method, path, headers, "secret")
    assert found == status and bool(why) == (status != 200)


def answer(scope: dict[str, Any]) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    guard = ReaderGuard(PlainTextResponse("data"), "secret")
    asyncio.run(guard(scope, receive, send))
    return sent


def test_replies_stay_where_they_are() -> None:
    for given, status in ((b"Bearer secret", 200), (b"Bearer other", 401)):
        headers = [(b"host", b"127.0.0.1:5080"), (b"authorization", given)]
        begun, body = answer(
            {"type": "http", "method": "GET", "path": "/api/x", "headers": headers}
        )
        assert begun["status"] == status and (b"data" in body["body"]) == (status == 200)
        sent = dict(begun["headers"])
        assert sent[b"content-security-policy"].startswith(b"default-src 'none'")
        assert sent[b"cross-origin-resource-policy"] == b"same-origin"
        assert not any(name.startswith(b"access-control") for name in sent)
    (closed,) = answer({"type": "websocket", "path": "/", "headers": []})
    assert closed["type"] == "websocket.close"


def test_tokens_are_not_guessed_and_addresses_are_this_machines() -> None:
    assert new_token() != new_token() and len(new_token()) >= 32
    with pytest.raises(OptionError, match="cross the network"):
        bind("0.0.0.0:0")
    with pytest.raises(OptionError, match="write host:port"):
        bind("5080")
    with bind("127.0.0.1:0") as taken, pytest.raises(OptionError, match="in use"):
        bind(f"127.0.0.1:{taken.getsockname()[1]}")
