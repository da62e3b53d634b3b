"""The batch stream, given frames that are almost right, and bytes that are not."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from itertools import chain
from pathlib import Path
from typing import Any

import msgpack
import pytest
from fuzzing import PATIENCE, assert_healthy, assert_listed, fuzzed, in_a_loop, mutated
from hypothesis import given
from hypothesis import strategies as st

from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.records import ApiOptions, SessionStatus, StateError
from armoflow.engine.services.call_log import CallLog
from armoflow.engine.services.extension import ExtensionService
from armoflow.engine.services.stream_socket import StreamSocket
from armoflow.protocol.frames import VERSION, Kind, Splitter, framed, unpack

SESSION = "session"
PIECE = 64
"""Bytes that are sent and read at once on a socket."""

LEVEL = {
    "max_duration": 60.0,
    "max_retries": 2,
    "priority": 1,
    "partition_id": "default",
    "application_name": "name",
    "options": {"key": "value"},
}


def submission(number: int) -> list[Any]:
    payload, output = f"{number}-payload", f"{number}-output"
    return [
        SESSION,
        [[payload, "payload/"], [output, "output.wanted/name"]],
        [LEVEL],
        [[output, payload, [], [output], 0]],
        [[payload, b"data"]],
    ]


def upload(number: int) -> list[Any]:
    return [
        SESSION,
        [[f"{number}-file", "shared/"]],
        [],
        [],
        [[f"{number}-file", ["/tmp/file", 5]]],
    ]


@st.composite
def requests(draw: Any) -> list[Any]:
    """One request, most often almost right."""
    number = draw(st.integers(1, 1000))  # what nobody asked for has none
    ids = [f"{number}-output", f"{number}-payload", "unknown"]
    valid = draw(
        st.sampled_from(
            [
                [number, Kind.HELLO, VERSION, True],
                [number, Kind.WATCH, SESSION],
                [number, Kind.SUBMIT, *submission(number)],
                [number, Kind.SUBMIT, *upload(number)],
                [number, Kind.FENCED, SESSION, "shared/manifest/from/2", *submission(number)[1:]],
                *([number, int(kind), ids] for kind in (Kind.FETCH, Kind.POLL, Kind.FAILURES)),
                *([number, int(kind), ids] for kind in (Kind.DELETE, Kind.CANCEL)),
                [number, Kind.LISTEN, SESSION],
                *([number, int(kind)] for kind in (Kind.INTRODUCE, Kind.OPEN)),
                [number, Kind.OPEN, LEVEL, ["default"]],
                *([number, int(kind), SESSION] for kind in (Kind.CLOSE, Kind.STOP)),
            ]
        )
    )
    rest = draw(mutated(valid[1:]))
    return [number, *rest] if isinstance(rest, list) else [number, rest]


garbage = st.binary(max_size=40) | st.sampled_from([b"\xc1", b"\xdd\xff\xff\xff\xff"])


class Context:
    """A call that is not a gRPC call."""

    async def abort(self, code: Any, text: str) -> None:
        raise ConnectionError(text)


async def exchange(engine: Engine, message: bytes, expected: int) -> tuple[list[Any], str]:
    """The answers to a message, and the code with which the stream was ended, if it was."""
    answered = asyncio.Event()
    answers: list[Any] = []

    async def incoming() -> AsyncIterator[bytes]:
        yield message
        await asyncio.wait_for(answered.wait(), PATIENCE)

    stream = ExtensionService(engine).connect(incoming(), Context())
    if not expected:
        answered.set()
    try:
        async with contextlib.aclosing(stream) as replies:  # type: ignore[type-var]
            async for reply in replies:
                answers += [frame for frame in unpack(reply) if frame[1] != Kind.CHANGES]
                if len(answers) >= expected:
                    answered.set()
    except StateError as error:
        return answers, error.code
    return answers, ""


async def exchange_on_socket(path: str, message: bytes, expected: int) -> tuple[list[Any], str]:
    """The same by the engine's socket, where sessions are begun and ended, too."""
    reader, writer = await asyncio.open_unix_connection(path)
    answers: list[Any] = []
    code = ""
    splitter = Splitter()
    try:
        for start in range(0, len(whole := framed((message,))), PIECE):
            writer.write(whole[start : start + PIECE])
            await writer.drain()
        while len(answers) < expected and (data := await asyncio.wait_for(reader.read(PIECE), 60)):
            for frame in chain.from_iterable(map(unpack, splitter.feed(data))):
                if frame[:2] == [0, Kind.REFUSED]:
                    code = frame[2]
                elif frame[1] not in {Kind.CHANGES, Kind.PASSAGES}:
                    answers.append(frame)
    finally:
        writer.close()
        await writer.wait_closed()
    return answers, code


@pytest.mark.parametrize("door", ["call", "socket"])
def test_fuzz_the_batch_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], door: str
) -> None:
    counts = {"examples": 0, "frames": 0, "refused": 0, "ended": 0}
    folder = tempfile.TemporaryDirectory(prefix="af-")  # pytest's may be too long for a socket
    path = f"{folder.name}/stream"

    async def example(engine: Engine, frames: list[Any], tail: bytes) -> None:
        message = b"".join(map(msgpack.packb, frames)) + tail
        # What the tail says is not known: an answer more, or the end of the stream.
        if door == "call":
            answers, code = await exchange(engine, message, len(frames))
        else:
            answers, code = await exchange_on_socket(path, message, len(frames))
        assert code in ({"", "INVALID_ARGUMENT"} if tail else {""})
        numbers = [frame[0] for frame in frames]
        assert sorted(answer[0] for answer in answers)[: len(numbers)] == sorted(numbers) or tail
        for answer in answers:
            if answer[1] == Kind.REFUSED:
                assert answer[2] not in {"INTERNAL", "UNKNOWN"}, answer
                counts["refused"] += 1
        counts["examples"] += 1
        counts["frames"] += len(frames)
        counts["ended"] += bool(code)
        await open_again(engine)
        await assert_healthy(engine)
        assert not engine._watchers._results

    def open_session(engine: Engine) -> None:
        options = ApiOptions(max_duration=60.0, max_retries=2, priority=1)
        engine.apply(engine.state.create_session(engine.now(), SESSION, options, ()))

    async def open_again(engine: Engine) -> None:
        session = engine.state.sessions.get(SESSION)
        if session is not None and session.status is not SessionStatus.RUNNING:
            # Until its rows are removed, those of another one of that name would go with them.
            await engine.sweeper.change(
                SESSION, lambda: engine.state.delete_session(engine.now(), SESSION)
            )
        if session is None or session.status is not SessionStatus.RUNNING:
            open_session(engine)

    def work(wait: Callable[[Any], Any]) -> None:
        engine = Engine(EngineOptions(tmp_path))
        wait(engine.start())
        open_session(engine)
        socket = StreamSocket(engine, CallLog(None), path)
        wait(socket.start())

        @fuzzed(80 if door == "call" else 60)
        @given(st.lists(requests(), max_size=4), st.just(b"") | garbage)
        def run(frames: list[Any], tail: bytes) -> None:
            wait(example(engine, frames, tail))

        run()
        socket.close()
        wait(engine.stop())
        again = Engine(EngineOptions(tmp_path))
        wait(again.start())
        wait(assert_listed(again))
        wait(assert_healthy(again))
        wait(again.stop())

    with folder:
        in_a_loop(work)
    with capsys.disabled():
        print(f"\nfuzz, batch stream by {door}: {counts}; healthy after each, and after a restart")
