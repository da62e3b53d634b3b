"""What a client does with answers that make no sense: it says so, and waits no more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgpack
import pytest

from armoflow.errors import EngineError, MalformedError
from armoflow.protocol.frames import Kind
from armoflow.protocol.shared_files import map_file, open_plain
from armoflow.protocol.stream import Stream
from tests.protocol.fake_engine import CALLER

PATIENCE = 60.0
ID = "result"


class Call:
    """A call to an engine that answers each message as it is told."""

    def __init__(self, answers: list[Any]) -> None:
        self._answers = answers
        self._messages: asyncio.Queue[bytes] = asyncio.Queue()

    async def write(self, message: bytes) -> None:
        answer = self._answers.pop(0)
        self._messages.put_nowait(answer if isinstance(answer, bytes) else msgpack.packb(answer))

    async def read(self) -> bytes:
        return await self._messages.get()

    def cancel(self) -> None:
        pass


class Channel:
    def __init__(self, *answers: Any) -> None:
        self._call = Call(list(answers))

    def stream_stream(self, method: str) -> Any:
        return lambda: self._call


HELLO = [0, Kind.OK, {"frees_payloads": False}]


def ask(kind: Kind, answer: Any, greeting: Any = HELLO) -> Any:
    """What a request gives that is answered so."""

    async def run() -> Any:
        told: list[Any] = []
        stream = Stream(
            lambda: Channel(greeting, answer),
            CALLER,
            lambda *change: told.append(change),
            lambda: None,
        )
        try:
            await asyncio.wait_for(stream.start(), PATIENCE)
            return await asyncio.wait_for(stream.request(kind, [ID]), PATIENCE)
        finally:
            await stream.close()

    return asyncio.run(run())


def test_a_failed_stream_says_the_same_to_everyone() -> None:
    async def run() -> None:
        stream = Stream(lambda: Channel(HELLO), CALLER, lambda *_: None, lambda: None)
        stream._fail(EngineError("gone"))
        depths = []
        for _ in range(5):
            with pytest.raises(EngineError, match="gone") as failure:
                await stream.request(Kind.POLL, [ID])
            depths.append(len(failure.traceback))
        assert depths == depths[:1] * 5

    asyncio.run(run())


GOOD_CHANGE = [ID, 2, 5, b"value", None, 0.5]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.POLL, [GOOD_CHANGE]),
        (Kind.POLL, [[ID, 3, 0, None, ["task", "error", "text"], None]]),
        (Kind.FETCH, [b"data"]),
        (Kind.FETCH, [None]),
        (Kind.FETCH, [[]]),
        (Kind.FETCH, [["/path", 5]]),
        (Kind.FAILURES, [[ID, "task", "error", "text"]]),
        (Kind.DELETE, None),
    ],
)
def test_good_answers_are_taken(kind: Kind, value: Any) -> None:
    assert ask(kind, [1, Kind.OK, value]) == value


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        *((Kind.POLL, [1, Kind.OK, value]) for value in (None, 5, [5], [[ID]], "text", {})),
        *(
            (Kind.POLL, [1, Kind.OK, [[*GOOD_CHANGE[:at], bad, *GOOD_CHANGE[at + 1 :]]]])
            for at, bad in ((0, 5), (1, 1), (1, 9), (2, -1), (3, "text"), (4, ["task"]), (5, "1"))
        ),
        *((Kind.FETCH, [1, Kind.OK, value]) for value in (None, ["text"], [["path"]], [[5, 5]])),
        *(
            (Kind.FAILURES, [1, Kind.OK, value])
            for value in (None, [[ID, "task"]], [[ID, 1, 2, 3]])
        ),
        (Kind.DELETE, [1, Kind.OK, 5]),
        (Kind.DELETE, [1, Kind.OK]),
        (Kind.DELETE, [1, Kind.OK, None, None]),
        (Kind.DELETE, [1, Kind.REFUSED]),
        (Kind.DELETE, [1, Kind.REFUSED, 5, "text", []]),
        (Kind.DELETE, [1, Kind.REFUSED, "CODE", "text", [5]]),
        (Kind.DELETE, [1]),
        (Kind.DELETE, [1, Kind.SUBMIT, None]),
        (Kind.DELETE, 5),
        (Kind.DELETE, b"\xc1"),
        (Kind.DELETE, b"\x93\x01\x00"),
        (Kind.DELETE, [0, Kind.CHANGES, "session", [[ID]]]),
        (Kind.DELETE, [0, Kind.CHANGES, 5, []]),
        (Kind.DELETE, [0, Kind.CHANGES]),
    ],
)
def test_a_malformed_answer_is_an_error_that_ends_the_waiting(kind: Kind, answer: Any) -> None:
    with pytest.raises(MalformedError):
        ask(kind, answer)


@pytest.mark.parametrize(
    "greeting",
    [5, [], [0], [0, Kind.OK], [0, Kind.OK, 5], [0, Kind.OK, {"staging": 5}], [0, Kind.REFUSED, 1]],
)
def test_a_malformed_greeting_is_no_connection(greeting: Any) -> None:
    with pytest.raises(MalformedError):
        ask(Kind.DELETE, [1, Kind.OK, None], greeting)


def test_only_plain_files_of_the_size_told_are_mapped(tmp_path: Path) -> None:
    import os

    good = tmp_path / "good"
    good.write_bytes(b"12345")
    assert bytes(map_file(str(good), 5)) == b"12345"
    (tmp_path / "link").symlink_to(good)
    os.mkfifo(tmp_path / "pipe")
    for name, size in (("good", 6), ("good", 4), ("link", 5), ("pipe", 0), (".", 0), ("none", 0)):
        with pytest.raises(OSError):
            map_file(str(tmp_path / name), size)
    os.close(open_plain(str(good)))
