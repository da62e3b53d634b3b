"""Any calls in any order, with kills, on an engine that is served: safe after each of them."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Machine, Scene
from .process import EngineProcess
from .properties import Cause, Property
from .stand_ins import StandIns

MODES = {
    "default": (),
    "deleting": ("--delete-payload",),
    "strict": ("--strict", "--no-extensions"),
}

STEPS = 30
THOROUGH = settings().max_examples > 100


class Scenes:
    """An engine for all examples of a mode, and another one after it was harmed."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._scene: Scene | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def get(self) -> Scene:
        if self._scene is not None and not self._scene.unharmed:
            self.close()
        if self._scene is None:
            self._directory = tempfile.TemporaryDirectory(prefix="armoflow-")
            directory = Path(self._directory.name)
            workers = StandIns(directory)
            engine = EngineProcess(directory, workers.command, *MODES[self._mode])
            self._scene = Scene(engine, workers, strict=self._mode == "strict")
            engine.start()
        return self._scene

    def close(self) -> None:
        if self._scene is not None and self._directory is not None:
            self._scene.engine.end(signal.SIGTERM)
            self._scene.workers.close()
            self._directory.cleanup()
            self._scene = None


@pytest.fixture(params=MODES)
def scenes(request: pytest.FixtureRequest) -> Iterator[Scenes]:
    found = Scenes(request.param)
    yield found
    found.close()


@pytest.mark.timeout(0 if THOROUGH else 300)
def test_all_properties_hold_after_any_step(scenes: Scenes) -> None:
    phases = [Phase.generate]
    run_state_machine_as_test(
        lambda: Machine(scenes.get()),
        settings=settings(
            max_examples=max(5, settings().max_examples // 20),
            stateful_step_count=STEPS,
            phases=phases,
            database=None,
        ),
    )


def test_each_exception_is_of_properties_that_there_are() -> None:
    """By default only what clients do to their own inputs is excepted."""
    for cause in Cause:
        assert cause.value.properties and cause.value.why
    always = {each for cause in Cause if not cause.value.strict for each in cause.value.properties}
    assert always == {Property.INPUTS, Property.THERE}
