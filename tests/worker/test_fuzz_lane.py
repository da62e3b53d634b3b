"""The lane, given what a child may send: by children that are only two sockets."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seats import PATIENCE, Seat, call

from armoflow.agent import lane_frames
from armoflow.codec.payload import Settings
from armoflow.worker.child_process import ChildProcess

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0")) or 60

numbers = st.sampled_from([0, 1, 2, 3, -1, 2**31, 2**63, 2**64 - 1])
texts = st.sampled_from(["", "output-0-0", "output-1-0", "../x", "a\0", "~1", "fetch", "x" * 300])
scalars = st.none() | st.booleans() | numbers | texts | st.binary(max_size=8) | st.floats()
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=8,
)
FIELDS = st.lists(junk, max_size=6)
messages = st.one_of(
    st.builds(
        lambda kind, rest: [kind, *rest],
        st.sampled_from(list(map(int, lane_frames.MessageKind))),
        FIELDS,
    ),
    st.builds(
        lambda serial, data: [lane_frames.DONE, serial, 5, data],
        st.integers(0, 4),
        st.dictionaries(texts, st.binary(max_size=4) | junk, max_size=2),
    ),
    st.builds(
        lambda serial, base, lengths, spool: [lane_frames.PARTIAL, serial, base, lengths, spool],
        st.integers(0, 4),
        numbers,
        st.binary(max_size=8),
        st.binary(max_size=8),
    ),
    st.builds(
        lambda serial, method, argument: [lane_frames.REQUEST, 1, serial, method, argument],
        st.integers(0, 4),
        st.sampled_from(["fetch", "new_results", "remove"]),
        junk,
    ),
    junk,
)
saying = st.builds(
    lambda parts, tail: b"".join(map(msgpack.packb, parts)) + tail,
    st.lists(messages, max_size=3),
    st.just(b"") | st.binary(max_size=20) | st.just(b"\xdd\xff\xff\xff\xff"),
)


class FakeProcess:
    """Stands for a process: it has ended when its sockets are closed."""

    pid = 0
    returncode = -9

    def poll(self) -> int | None:
        return None

    def wait(self) -> int:
        return self.returncode


class FakeChild(ChildProcess):
    """Says what it is given, once, ends all tasks well, and goes; the next one only works."""

    words: bytes | None = None

    def _start(self, environment: Any, kept: int, channel: Any, control: Any, mark_fd: int) -> Any:
        self._far, self._far_control = channel.dup(), control.dup()
        self._far.setblocking(False)
        self._far_unpacker = msgpack.Unpacker(strict_map_key=False)
        self._far.send(msgpack.packb([lane_frames.READY, 5]))
        self._loop.add_reader(self._far.fileno(), self._work)
        return FakeProcess()

    def _work(self) -> None:
        self._far_unpacker.feed(self._far.recv(65536))
        words, FakeChild.words = FakeChild.words, None
        for kind, *rest in self._far_unpacker:
            if kind == lane_frames.RUN:
                for serial, _, _, outputs, *_ in rest[0]:
                    done = msgpack.packb([lane_frames.DONE, serial, 5, {outputs[0]: b"well"}])
                    self._far.send((words or b"") + done)
                    words, gone = None, words is not None
                    if gone:
                        self.kill()
                        return

    def kill(self) -> None:
        if self._far.fileno() >= 0:
            self._loop.remove_reader(self._far.fileno())
            self._far.close()
            self._far_control.close()

    async def kill_left(self) -> None:
        pass

    async def wait(self) -> int:
        return -9

    async def end(self, *, gently: bool) -> None:
        self.kill()


def test_fuzz_the_lane(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("armoflow.worker.spares.ChildProcess", FakeChild)
    counts = {"examples": 0, "broken": 0, "died": 0}
    loop = asyncio.new_event_loop()
    payload = call(len, settings=Settings(crash_retries=0))

    async def example(words: bytes) -> None:
        seat = Seat(tmp_path / str(counts["examples"]))
        works = [seat.work(payload) for _ in range(3)]
        FakeChild.words = words
        seat.supervisor.send(works)
        await seat.until(lambda: all(w.key in seat.outcomes or w in seat.back for w in works))
        FakeChild.words = None
        for work in works:
            outcome = seat.outcomes.get(work.key)
            if outcome is not None and outcome.effects is None:
                counts["broken"] += "made no sense" in outcome.error
                counts["died"] += "made no sense" not in outcome.error
        counts["examples"] += 1
        (after,) = await seat.run(payload)
        assert after.effects is not None, after.error
        assert after.effects.data == {after.work.outputs[0]: b"well"}
        assert not await seat.stop()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(saying)
    def run(words: bytes) -> None:
        loop.run_until_complete(asyncio.wait_for(example(words), PATIENCE))

    run()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    with capsys.disabled():
        print(f"\nfuzz, lane: {counts}; the seat works after each")
