"""Clients, workers and kills, in any order; a step is a rule and some numbers.

What a step acts on is picked by number among what there is. So the choices do not depend on what
the engine did, and a list of steps is a test.
"""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import threading
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import grpc
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from armoflow.engine.records import FINAL, ResultStatus, SessionStatus, TaskStatus

from .calls import Calls, Submission
from .process import EngineProcess
from .properties import Cause, Property, Waivers
from .referee import Referee
from .stand_ins import Held, StandIns

T = TypeVar("T")

SESSIONS = 3
"""Sessions that are open at a time, at most."""

LARGE = 70_000
"""Bytes of data that the engine has in a file."""

NUMBER = st.integers(0, 2**16 - 1)
DIE = st.integers(0, 5)


class Scene:
    """An engine, its workers, and whether it is strict; many examples share one."""

    def __init__(self, engine: EngineProcess, workers: StandIns, *, strict: bool) -> None:
        self.engine = engine
        self.workers = workers
        self.strict = strict
        self.unharmed = True
        self.numbers = count()


def rows_in_order(state: Path) -> bool:
    """Whether tasks and results are in the journal in the order of their creation."""
    uri = f"{(state / 'journal.db').as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        for table in ("tasks", "results"):
            rows = connection.execute(f"SELECT created_at FROM {table} ORDER BY rowid").fetchall()
            if rows != sorted(rows):
                return False
    return True


class Machine(RuleBasedStateMachine):
    """What clients and workers do on an engine, one thing after the other."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene = scene
        self.calls = Calls(scene.engine.target, strict=scene.strict)
        self.waivers = Waivers(strict=scene.strict)
        self.referee = Referee(self.calls, scene.workers, self.waivers)
        self.payloads: set[str] = set()

    # --- picking ---

    def pick(self, number: int, things: Sequence[T] | Any) -> T | None:
        """One of these, if there are any."""
        things = list(things)
        return things[number % len(things)] if things else None

    def session(self, number: int) -> str:
        return self.pick(number, self.referee.seen.sessions) or "nobody"

    def result(self, number: int, wanted: Callable[[Any], bool] = lambda result: True) -> Any:
        return self.pick(number, filter(wanted, self.referee.seen.results.values()))

    def held(self, number: int) -> Held | None:
        return self.pick(number, sorted(self.scene.workers.held().values(), key=_task_id))

    def data(self, number: int) -> bytes:
        """Data as there was none before; some of it large."""
        data = b"data %d;" % next(self.scene.numbers)
        return data * (LARGE // len(data)) if number % 4 == 0 else data

    def watch(self, **how: Any) -> None:
        """Check all."""
        try:
            self.referee.watch(**how)
        except BaseException:
            self.scene.unharmed = False
            raise

    # --- clients ---

    @initialize(needs=st.tuples(NUMBER, NUMBER, NUMBER), shape=NUMBER)
    def begin(self, needs: tuple[int, ...], shape: int) -> None:
        self.create_session()
        self.submit(0, needs, shape, 1)

    @rule()
    def create_session(self) -> None:
        if len(self.referee.seen.sessions) < SESSIONS:
            self.calls.create_session()
            self.watch()

    @rule(where=NUMBER, size=NUMBER, manual=st.booleans())
    def create_data(self, where: int, size: int, manual: bool) -> None:
        session_id, data = self.session(where), self.data(size)
        result_id = self.calls.store(session_id, data, manual=manual)
        if result_id:
            self.referee.offer(result_id, data)
            self.referee.acknowledged(session_id, results=[result_id])
        self.watch()

    @rule(where=NUMBER, needs=st.tuples(NUMBER, NUMBER, NUMBER), shape=NUMBER, size=NUMBER)
    def submit(self, where: int, needs: tuple[int, ...], shape: int, size: int) -> None:
        """Up to three tasks, each of which may need the one before, and what there is."""
        session_id = self.session(where)
        tasks: list[Submission] = []
        for number in needs[: 1 + shape % 3]:
            created = self.calls.create(session_id, 2 + shape // 3 % 2, manual=shape // 6 % 4 == 0)
            if not created:
                self.watch()
                return
            self.referee.acknowledged(session_id, results=created)
            payload, *outputs = created
            found = self.result(number // 3, lambda each: each.result_id not in self.payloads)
            wanted = [found.result_id] if found is not None and number % 3 else []
            if tasks and number % 3 != 1:
                wanted.append(tasks[-1].outputs[0])
            self.payloads.add(payload)
            tasks.append(Submission(payload, list(dict.fromkeys(wanted)), outputs))
        self._submit(session_id, tasks)
        if shape // 24 % 4:
            for task in tasks:
                self._upload(session_id, task.payload, self.data(size))
        self.watch()

    def _submit(self, session_id: str, tasks: Sequence[Submission]) -> None:
        ids = self.calls.submit(session_id, tasks)
        self.referee.acknowledged(session_id, tasks=ids)
        if not ids:
            self.waivers.give(Cause.DISOWNED, *(each for one in tasks for each in one.outputs))

    @rule(where=NUMBER, output=NUMBER, need=NUMBER)
    def submit_for_another(self, where: int, output: int, need: int) -> None:
        """A task that is to produce what is there already.

        It needs what is completed, or clients could let tasks wait for each other in a circle.
        """
        session_id = self.session(where)
        produced, needed = self.result(output), self.result(need, _is_completed)
        if produced is None:
            return
        payload = self.calls.store(session_id, data := self.data(1))
        self.referee.offer(payload, data)
        self.payloads.add(payload)
        self.waivers.give(Cause.DISOWNED, produced.result_id, produced.owner_task_id)
        self.waivers.give(Cause.REPLACED, produced.result_id)
        wanted = [needed.result_id] if needed and needed.result_id not in self.payloads else []
        self._submit(session_id, [Submission(payload, wanted, [produced.result_id])])
        self.watch()

    @rule(which=NUMBER, size=NUMBER)
    def upload(self, which: int, size: int) -> None:
        result = self.result(which)
        if result is not None:
            if result.status != ResultStatus.CREATED or result.owner_task_id:
                self.waivers.give(Cause.REPLACED, result.result_id)
            self._upload(result.session_id, result.result_id, self.data(size))
            self.watch()

    def _upload(self, session_id: str, result_id: str, data: bytes) -> None:
        self.referee.offer(result_id, data)
        self.calls.upload(session_id, result_id, data)

    @rule(source=NUMBER, into=NUMBER)
    def import_data(self, source: int, into: int) -> None:
        known = self.result(source, lambda result: bool(result.opaque_id))
        taking = self.result(into, lambda result: result.status == ResultStatus.CREATED)
        if known is not None and taking is not None:
            if taking.owner_task_id:
                self.waivers.give(Cause.REPLACED, taking.result_id)
            self.waivers.give(Cause.SHARED, known.result_id, taking.result_id)
            self.referee.offer_same(taking.result_id, known.result_id)
            self.calls.take_over(taking.session_id, taking.result_id, known.opaque_id)
            self.watch()

    @rule(which=NUMBER)
    def delete_data(self, which: int) -> None:
        result = self.result(which)
        if result is not None:
            self._gone([result])
            self.calls.delete(result.session_id, result.result_id)
            self.watch()

    def _gone(self, results: Sequence[Any]) -> None:
        """A client deletes these, whoever needs them."""
        for result in results:
            self.waivers.give(Cause.INPUT_DELETED, result.result_id)
            if result.status == ResultStatus.CREATED:
                self.waivers.give(Cause.OPEN_DELETED, result.result_id)

    @rule(which=NUMBER)
    def cancel_task(self, which: int) -> None:
        task = self.pick(which, self.referee.seen.tasks.values())
        if task is not None:
            self._never_queued([task])
            self.calls.cancel(task.id)
            self.watch()

    def _never_queued(self, tasks: Sequence[Any]) -> None:
        held = self.scene.workers.held()
        waiting = [task for task in tasks if task.id not in held]
        self.waivers.give(Cause.NEVER_QUEUED, *(task.id for task in waiting))

    @rule(where=NUMBER, client=st.integers(0, 3), worker=st.booleans())
    def stop_submission(self, where: int, client: int, worker: bool) -> None:
        self.calls.on_session(
            "StopSubmission", self.session(where), client=not client, worker=worker
        )
        self.watch()

    @rule(where=NUMBER, verb=st.sampled_from(["Pause", "Resume", "Resume"]))
    def hold(self, where: int, verb: str) -> None:
        self.calls.on_session(verb, self.session(where))
        self.watch()

    @rule(where=NUMBER, verb=st.sampled_from(["Close", "Cancel", "Purge", "Delete"]), die=DIE)
    def end_session(self, where: int, verb: str, die: int) -> None:
        """Seldom, or there would be little left to do."""
        if not die:
            self._end(self.session(where), verb)
            self.watch()

    def _end(self, session_id: str, verb: str) -> None:
        seen = self.referee.seen
        results = [each for each in seen.results.values() if each.session_id == session_id]
        if verb in ("Purge", "Delete"):
            self._gone(results)
        if verb == "Cancel":
            waited_for = (one.result_id for one in results if one.status == ResultStatus.CREATED)
            self.waivers.give(Cause.OTHER_CANCELLED, *waited_for)
        self._never_queued([each for each in seen.tasks.values() if each.session_id == session_id])
        self.calls.on_session(verb, session_id)

    # --- workers ---

    @rule(which=NUMBER, size=NUMBER, times=st.integers(1, 6))
    def complete(self, which: int, size: int, times: int) -> None:
        """Tasks produce their outputs."""
        for _ in range(times):
            held = self.held(which)
            if held is None:
                break
            self._produce(held, held.outputs, size)
            held.succeed()
            self.watch()

    def _produce(self, held: Held, results: Sequence[str], size: int) -> None:
        for result_id in results:
            data = self.data(size)
            self.referee.offer(result_id, data, held.task_id)
            held.produce(result_id, data)

    @rule(which=NUMBER, need=NUMBER, size=NUMBER)
    def expand(self, which: int, need: int, size: int) -> None:
        """A task hands its first output to a child, which may need others and what is completed."""
        held = self.held(which)
        if held is None or not held.outputs:
            return
        handed, *others = held.outputs
        needed = self.result(
            need // 2, lambda each: _is_completed(each) and each.result_id not in self.payloads
        )
        wanted = others if needed is None or need % 2 else [*others, needed.result_id]
        self.waivers.give(Cause.CHILD_REFUSED, held.task_id, *others)
        try:
            self._produce(held, others, size)
            payload = held.create(data := self.data(size))
            self.payloads.add(payload)
            self.referee.offer(payload, data, held.task_id)
            held.submit(payload, [each for each in wanted if each != handed], [handed])
        except grpc.RpcError as error:
            held.fail(f"the agent says {error}")
        else:
            held.succeed()
        self.watch()

    @rule(which=NUMBER)
    def forget(self, which: int) -> None:
        """A task ends well without its first output."""
        held = self.held(which)
        if held is not None:
            self.waivers.give(Cause.FORGOTTEN, *held.outputs[:1])
            self._produce(held, held.outputs[1:], 1)
            held.succeed()
            self.watch()

    @rule(which=NUMBER, produced=st.booleans())
    def fail(self, which: int, produced: bool) -> None:
        self._end_badly(which, produced, lambda held: held.fail("it went wrong"))

    @rule(which=NUMBER, produced=st.booleans())
    def crash(self, which: int, produced: bool) -> None:
        """The worker's process dies in the task: it is retried."""
        self._end_badly(which, produced, Held.crash)

    @rule(which=NUMBER, produced=st.booleans())
    def break_down(self, which: int, produced: bool) -> None:
        """The call fails, and the worker lives: it is retried."""
        self._end_badly(which, produced, lambda held: held.end(grpc.StatusCode.UNKNOWN))

    def _end_badly(self, which: int, produced: bool, how: Callable[[Held], None]) -> None:
        held = self.held(which)
        if held is not None:
            if produced:
                self._produce(held, held.outputs, 1)
            how(held)
            self.watch()

    # --- the engine ---

    @rule(meanwhile=st.integers(0, 4), which=NUMBER, die=DIE)
    def restart(self, meanwhile: int, which: int, die: int) -> None:
        """It is killed, perhaps in the middle of something, and started again on its state."""
        if die:
            return
        action = (
            lambda: None,
            lambda: self._end(self.session(which), "Cancel"),
            lambda: self._end(self.session(which), "Delete"),
            lambda: [held.succeed() for held in self._ready(which)],
            lambda: self.calls.cancel(*self.referee.seen.tasks),
        )[meanwhile]
        if meanwhile == 4:
            self._never_queued(list(self.referee.seen.tasks.values()))

        def act() -> None:
            with contextlib.suppress(grpc.RpcError):  # whatever came of it
                action()

        acting = threading.Thread(target=act)
        acting.start()
        self.scene.engine.end(signal.SIGKILL)
        self.scene.workers.drop()
        self.scene.engine.start()
        acting.join()
        self.watch(again=True)

    def _ready(self, which: int) -> list[Held]:
        """A task that has produced all and has only to say so."""
        held = self.held(which)
        if held is None:
            return []
        self._produce(held, held.outputs, which)
        return [held]

    # --- progress ---

    def teardown(self) -> None:
        """Clients upload what is waited for and workers run what they get: all must end."""
        try:
            if self.scene.unharmed:
                self.scene.unharmed = False
                self._finish()
                assert rows_in_order(self.scene.engine.state)
                self._delete_all()
                self.scene.unharmed = True
        finally:
            self.calls.close()

    def _delete_all(self) -> None:
        """Nothing is left of sessions that are deleted.

        Strict: nor of the results of one that never was, which has to be deleted, too.
        """
        seen = self.referee.seen
        for session_id in {*seen.sessions, *(each.session_id for each in seen.results.values())}:
            self.calls.on_session("Delete", session_id)
        self.watch()
        seen = self.referee.seen
        assert not (seen.sessions or seen.tasks or seen.results), seen
        assert not self.scene.workers.held()

    def _finish(self) -> None:
        self.watch(again=True)
        for _ in range(len(self.referee.seen.tasks) + 100):
            if not self._advance():
                break
            self.watch()
        assert not (left := self.referee.unfinished()), f"{Property.ENDS.value}: {left}"

    def _advance(self) -> bool:
        """Do all that somebody waits for; whether there was anything."""
        seen, held = self.referee.seen, self.scene.workers.held()
        for each in held.values():
            self._produce(each, each.outputs, 1)
            each.succeed()
        paused = [i for i, status in seen.sessions.items() if status is SessionStatus.PAUSED]
        for session_id in paused:
            self.calls.on_session("Resume", session_id)
        wanted = {
            result_id
            for task in seen.tasks.values()
            if TaskStatus(task.status) not in FINAL
            for result_id in (task.payload_id, *task.data_dependencies)
        }
        waited = [
            result
            for result in seen.results.values()
            if result.result_id in wanted
            and result.status == ResultStatus.CREATED
            and not result.owner_task_id
        ]
        for result in waited:
            self._upload(result.session_id, result.result_id, self.data(1))
        return bool(held or paused or waited)


def _is_completed(result: Any) -> bool:
    return bool(result.status == ResultStatus.COMPLETED)


def _task_id(held: Held) -> str:
    return held.task_id
