"""One round: a workload, one kill, and what that has cost."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from armoflow.engine.records import SessionStatus
from tests.campaign import checks
from tests.campaign.stage import (
    LANE,
    LEASE,
    LONG_LEASE,
    PATIENCE,
    PRIVATE,
    SERVICE,
    STANDARD,
    STOCK,
    Setup,
    Stage,
)
from tests.integration.looking import Looking

KINDS: dict[str, Sequence[Setup]] = {
    "engine": (PRIVATE, LANE, SERVICE, STANDARD),
    "child": (LANE, SERVICE, PRIVATE, STOCK),
    "client": (LANE, SERVICE, PRIVATE),
    "worker": (SERVICE, STOCK),
}
DURABILITIES = ("normal", "full")

_CHILD = "armoflow.worker.child"
_WORKER = "armoflow.cli.main worker"
_ENGINE = "armoflow.engine"


@dataclass
class Verdict:
    """What a round has cost: each list should be empty.

    Attributes:
        kind: What was killed.
        durability: Of the engine.
        setup: What it was killed in.
        seed: Of the round.
        lost: Calls without their right value.
        doubled: Calls with two values.
        again: Calls that ran again after they were committed.
        left: What was left over.
        recovery: Seconds from the kill to the next value, or to the end of the session.
    """

    kind: str
    durability: str
    setup: str
    seed: int
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    recovery: float | None = None

    @property
    def problems(self) -> list[str]:
        """Everything that should not be."""
        return [*self.lost, *self.doubled, *self.again, *self.left]


def play(kind: str, durability: str, seed: int) -> Verdict:
    """Play one round."""
    chance = random.Random(f"{kind}-{durability}-{seed}")
    setups = [setup for setup in KINDS[kind] if durability == "normal" or setup is not PRIVATE]
    setup = setups[seed % len(setups)]
    verdict = Verdict(kind, durability, setup.name, seed)
    stage = Stage(setup, durability, seed, LEASE if kind == "client" else LONG_LEASE)
    try:
        _Round(stage, chance, verdict).play()
    finally:
        stage.clear()
    return verdict


class _Round:
    def __init__(self, stage: Stage, chance: random.Random, verdict: Verdict) -> None:
        self._stage = stage
        self._chance = chance
        self._verdict = verdict
        self._killed = 0

    def play(self) -> None:
        stage, verdict = self._stage, self._verdict
        if not stage.listen_for(0):
            verdict.lost.append(f"the client did not start: {self._client_log()}")
            return
        # Somewhere in the workload: after so many values, and some time more.
        stage.listen_for(self._chance.randrange(stage.seen.count))
        time.sleep(self._chance.uniform(0.0, 0.05))
        before = checks.completed_results(stage.state)
        kills: dict[str, Callable[[], None]] = {
            "engine": self._kill_engine,
            "child": lambda: self._kill_one(_CHILD),
            "client": self._kill_client,
            "worker": lambda: self._kill_one(_WORKER),
        }
        kills[verdict.kind]()
        if verdict.kind != "client":
            self._finish(before)
        self._end()

    # --- kills ----------------------------------------------------------------------------------

    def _kill(self, pid: int) -> None:
        self._stage.processes()
        self._killed = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)

    def _kill_one(self, part: str) -> None:
        found = self._stage.named(part)
        if found:
            self._kill(self._chance.choice(found).pid)
        else:
            self._verdict.lost.append(f"there was no {part} to kill")

    def _kill_engine(self) -> None:
        engine = self._stage.engine
        if engine is None:
            self._kill_one(_ENGINE)
            return
        self._kill(engine.process.pid)
        engine.wait()
        engine.start()

    def _kill_client(self) -> None:
        stage = self._stage
        self._kill(stage.client.pid)
        stage.client.wait()
        if stage.engine is None:
            return
        look = Looking(stage.engine)
        deadline = time.monotonic() + PATIENCE
        while any(status == SessionStatus.RUNNING for status in look.sessions().values()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        self._verdict.recovery = (time.monotonic_ns() - self._killed) * 1e-9 - LEASE
        while look.has_data() and time.monotonic() < deadline:
            time.sleep(0.02)
        look.close()

    # --- what follows ---------------------------------------------------------------------------

    def _finish(self, before: dict[str, checks.Stored]) -> None:
        stage, verdict = self._stage, self._verdict
        if not stage.listen_to_the_end():
            missing = stage.seen.count - len(stage.seen.names)
            verdict.lost.append(f"{missing} values did not come: {self._client_log()}")
        verdict.lost += stage.seen.failed
        later = [at for at in stage.seen.names.values() if at > self._killed]
        if later:
            verdict.recovery = (min(later) - self._killed) * 1e-9
        verdict.doubled += checks.changed(before, checks.completed_results(stage.state))
        stage.processes()
        if not stage.close_client():
            verdict.lost.append(f"the client did not end well: {self._client_log()}")

    def _end(self) -> None:
        stage, verdict = self._stage, self._verdict
        verdict.doubled += checks.doubled(stage.seen)
        verdict.again += checks.run_again(stage.notes, stage.seen)
        stage.processes()
        if not stage.stop_engine():
            verdict.left.append("the engine did not stop")
        verdict.left += stage.survivors()
        verdict.left += checks.left_in(stage.temporary)
        if stage.engine is not None:
            verdict.left += checks.left_in_state(stage.state)

    def _client_log(self) -> str:
        return (self._stage.folder / "client.log").read_text()[-2000:]
