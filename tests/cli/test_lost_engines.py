"""Looking at an engine that dies meanwhile, hangs, or is started again."""

from __future__ import annotations

import io
import os
import pty
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from armoflow import Client, task
from armoflow.errors import EngineUnreachableError
from armoflow.protocol import blocking_deadlines as deadlines
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.session_output import session_output
from armoflow.protocol.settings import ConnectionSettings
from tests.integration.engines import ARMOFLOW, Up
from tests.processes import running

PATIENCE = 60.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Up]:
    """An engine, ended whatever was done to it."""
    engine = Up(tmp_path, "--workers", "1")
    yield engine
    if engine.process.poll() is None:
        engine.process.send_signal(signal.SIGCONT)
        engine.stop()


def test_an_engine_that_has_gone_is_told_in_words(engine: Up) -> None:
    with Inspection(ConnectionSettings(engine.endpoint)) as inspection:
        assert inspection.sessions(1) == (0, [])
        engine.kill()
        with pytest.raises(EngineUnreachableError) as caught:
            inspection.sessions(1)
    told = str(caught.value)
    assert "listing sessions: the engine at" in told and "is gone" in told
    assert "UNAVAILABLE" not in told


def test_an_engine_that_hangs_is_not_waited_for_for_ever(
    engine: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "CALL_DEADLINE", 0.5)
    with Inspection(ConnectionSettings(engine.endpoint)) as inspection:
        engine.process.send_signal(signal.SIGSTOP)
        with pytest.raises(EngineUnreachableError, match="accepts connections and says nothing"):
            inspection.sessions(1)
        engine.process.send_signal(signal.SIGCONT)
        monkeypatch.setattr(deadlines, "CALL_DEADLINE", PATIENCE)
        assert inspection.sessions(1) == (0, [])


def test_output_that_is_followed_may_come_late_but_from_an_engine_that_is_there(
    engine: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "CALL_DEADLINE", 0.6)
    with Client(engine.endpoint) as client, Inspection(ConnectionSettings(engine.endpoint)) as seen:
        client.compute(write_later(0))
        later = client.submit(write_later(3))  # several times as long as an engine may be silent
        [session] = seen.sessions(1)[1]
        lines = session_output(seen, session.session_id, follow=True)
        assert lines is not None
        assert [next(lines)["text"] for _ in range(2)] == ["after 0 s", "after 3 s"]
        assert later.result(PATIENCE) is None
        engine.process.send_signal(signal.SIGSTOP)
        with pytest.raises(EngineUnreachableError, match="accepts connections and says nothing"):
            next(lines)
        engine.process.send_signal(signal.SIGCONT)


@task
def write_later(seconds: float) -> None:
    time.sleep(seconds)
    print(f"after {seconds} s")


class Screen:
    """What a program has written to a terminal."""

    def __init__(self, descriptor: int) -> None:
        self._text = io.StringIO()
        self._more = threading.Condition()
        threading.Thread(target=self._read, args=(descriptor,), daemon=True).start()

    def forget(self) -> None:
        """Look only at what comes from now on."""
        with self._more:
            self._text = io.StringIO()

    def wait_for(self, *texts: str) -> None:
        """Until all of them were shown."""
        with self._more:
            shown = self._more.wait_for(
                lambda: all(text in self._text.getvalue() for text in texts), PATIENCE
            )
            assert shown, self._text.getvalue()

    def _read(self, descriptor: int) -> None:
        while True:
            try:
                some = os.read(descriptor, 65536)
            except OSError:  # as a terminal ends
                return
            with self._more:
                self._text.write(some.decode(errors="replace"))
                self._more.notify_all()


def test_top_tells_of_an_engine_that_has_gone_and_goes_on_with_the_next(engine: Up) -> None:
    near, far = pty.openpty()
    command = [*ARMOFLOW, "top", "--endpoint", engine.endpoint, "--interval", "0.2"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "300"}
    with running(command, stdin=far, stdout=far, stderr=far, env=environment) as top:
        screen = Screen(near)
        screen.wait_for("tasks/s")
        engine.kill()
        screen.wait_for("is gone", "armoflow up --listen")
        engine.start()
        screen.forget()
        screen.wait_for("tasks/s")
        top.send_signal(signal.SIGINT)
        assert top.wait(PATIENCE) == 130
    os.close(far)
    os.close(near)
