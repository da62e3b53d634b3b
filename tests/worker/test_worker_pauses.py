"""Waiting for a retry holds nothing: no other item of the task and, on the lane, no child."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lanes import Lane, on_a_lane
from runners import LocalRunner
from seats import Seat, call, code, collection, file_appears, items, output, record, seat, values
from test_worker_runner import Reference, referring
from test_worker_supervisor import on_a_loop

from armoflow import config
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import Operation, Payload, Settings, Stage
from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.records import ApiOptions, SessionStatus, TaskStatus
from armoflow.worker.item_checkpoints import Checkpoints

MAP, FILTER, COMBINE = Operation.MAP, Operation.FILTER, Operation.COMBINE
PAUSE = 0.4
LONG = 300.0
"""A pause that no test lives to see the end of."""


@pytest.fixture
def local(tmp_path: Path) -> LocalRunner:
    return LocalRunner(tmp_path)


def retried(retries: int = 1, backoff: float = PAUSE, **settings: Any) -> Settings:
    return Settings(retries=retries, backoff=backoff, packed=True, **settings)


def flaky(log: Path, failing: dict[Any, int], body: Callable[..., Any] | None = None) -> Any:
    """Notes each run in a log; the first runs with some first arguments raise."""
    name = str(log)

    def noted(*arguments: Any) -> Any:
        from pathlib import Path as Place

        with Place(name).open("a") as file:
            file.write(f"{arguments[0]}\n")
        tried = Place(name).read_text().split().count(str(arguments[0]))
        if tried <= failing.get(arguments[0], 0):
            raise RuntimeError(f"attempt {tried}")
        return arguments[0] if body is None else body(*arguments)

    return noted


def runs(log: Path) -> list[str]:
    return log.read_text().split()


# --- in a process -------------------------------------------------------------------------------

PLACES = pytest.mark.parametrize("place", ["lane", "agent"])
"""A child of the engine hands a task back that waits; elsewhere it waits itself."""


def run(local: LocalRunner, place: str, payload: Payload, tmp_path: Path, *args: Any) -> Any:
    if place == "lane":
        result = local.run(payload, *args)
        assert local.pauses
        return result
    folder = tmp_path / "folder"
    folder.mkdir()
    result = local.run(payload, *args, folder=str(folder))
    assert not local.pauses
    return result


@PLACES
def test_the_other_items_of_a_map_go_on(local: LocalRunner, place: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    payload = collection(
        MAP, flaky(log, {0: 1, 4: 1, 9: 1}), values(*range(10)), settings=retried()
    )
    assert run(local, place, payload, tmp_path) == list(range(10))
    assert runs(log) == [*map(str, range(10)), "0", "4", "9"]


@PLACES
def test_items_of_any_kind_wait(local: LocalRunner, place: str, tmp_path: Path) -> None:
    """Arguments of two columns, one by one; items that are pickled by themselves."""
    log = tmp_path / "log"
    add = flaky(log, {"a": 1}, lambda *parts: "".join(parts))
    payload = collection(
        MAP, add, [*items("a"), *values("b")], values("1", "2"), settings=retried()
    )
    assert run(local, place, payload, tmp_path) == ["a1", "b2"]
    assert runs(log) == ["a", "b", "a"]


@PLACES
def test_sibling_calls_wait_each_for_itself(local: LocalRunner, place: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = retried()
    payload = collection(
        MAP,
        flaky(log, {"b": 1}),
        values(*(((name,), {}) for name in "abc")),
        settings=settings,
        calls=True,
    )
    assert run(local, place, payload, tmp_path) == ["a", "b", "c"]
    assert runs(log) == ["a", "b", "c", "b"]


@PLACES
def test_a_filter_decides_later(local: LocalRunner, place: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    odd = flaky(log, {1: 1, 2: 1}, lambda value: value % 2)
    payload = collection(FILTER, odd, values(*range(5)), settings=retried())
    assert run(local, place, payload, tmp_path) == [None, 1, None, 3, None]
    assert runs(log) == ["0", "1", "2", "3", "4", "1", "2"]


@PLACES
def test_each_step_of_a_fused_map_waits_once(
    local: LocalRunner, place: str, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    payload = collection(
        MAP, flaky(first, {1: 1}, lambda x: 10 * x), values(*range(4)), settings=retried()
    )
    payload.stages = [Stage("second", code(flaky(second, {0: 1, 30: 1}, lambda x: x + 1)))]
    assert run(local, place, payload, tmp_path) == [1, 11, 21, 31]
    assert runs(first) == ["0", "1", "2", "3", "1"]
    assert runs(second) == ["0", "10", "20", "30", "0", "30"]


@PLACES
def test_a_fused_call_goes_on_in_the_step_that_failed(
    local: LocalRunner, place: str, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    payload = call(flaky(first, {"x": 1}), "x", settings=retried())
    arguments = referring(((Reference("previous"),), {}))
    payload.stages = [Stage("second", code(flaky(second, {"x": 1})), arguments)]
    assert run(local, place, payload, tmp_path) == ["x"]
    assert (runs(first), runs(second)) == (["x", "x"], ["x", "x"])


@PLACES
def test_a_reduction_goes_on_with_what_it_had(
    local: LocalRunner, place: str, tmp_path: Path
) -> None:
    """Its steps are in order: it waits as a whole, and each step has attempts of its own."""
    log = tmp_path / "log"
    add = flaky(log, {"ab": 1, "abcd": 1}, lambda left, right: left + right)
    payload = collection(COMBINE, add, values(*"abcdef"), settings=retried())
    payload.final = True
    assert run(local, place, payload, tmp_path) == ["abcdef"]
    assert runs(log) == ["a", "ab", "ab", "abc", "abcd", "abcd", "abcde"]


@PLACES
def test_pauses_double_and_end(local: LocalRunner, place: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    payload = collection(MAP, flaky(log, {0: 2, 2: 9}), values(*range(4)), settings=retried(2, 0.2))
    zero, one, two, three = run(local, place, payload, tmp_path)
    assert (zero, one, three) == (0, 1, 3)
    assert (two.name, two.attempts, two.message) == ("noted[2]", 3, "attempt 3")
    assert runs(log) == ["0", "1", "2", "3", "0", "2", "0", "2"]


def test_what_takes_no_time_is_waited_for_in_place(local: LocalRunner, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = retried(backoff=config.SHORTEST_PAUSE / 10)
    payload = collection(MAP, flaky(log, {0: 1}), values(0, 1), settings=settings)
    assert local.run(payload) == [0, 1]
    assert not local.pauses
    assert runs(log) == ["0", "1", "0"]


def test_large_values_are_saved_in_a_file(local: LocalRunner, tmp_path: Path) -> None:
    large = flaky(tmp_path / "log", {0: 1}, lambda value: bytes([value]) * 200_000)
    payload = collection(MAP, large, values(0, 1, 2), settings=retried())
    assert local.run(payload) == [bytes([value]) * 200_000 for value in range(3)]
    (pause,) = local.pauses
    assert not isinstance(pause.saved, bytes)
    assert Path(str(pause.saved[0])).stat().st_size == pause.saved[1]
    assert runs(tmp_path / "log") == ["0", "1", "2", "0"]


def test_what_was_saved_and_is_gone_is_made_again(local: LocalRunner, tmp_path: Path) -> None:
    def lose(value: int) -> bytes:
        for saved in tmp_path.glob("progress-*"):
            saved.unlink()
        return bytes([value]) * 200_000

    payload = collection(MAP, lose, values(0, 1), settings=retried())
    from armoflow.worker.task_progress import TaskProgress

    progress = TaskProgress.decode({}, [], [str(tmp_path / "nowhere"), 10])
    assert local.run(payload, progress=progress) == [bytes([value]) * 200_000 for value in range(2)]


def test_what_would_take_too_much_memory_waits_in_place(
    local: LocalRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "PROGRESS_BYTES", 100)
    text = flaky(tmp_path / "log", {0: 1}, lambda value: str(value) * 1000)
    payload = collection(MAP, text, values(0, 1), settings=retried())
    assert local.run(payload) == ["0" * 1000, "1" * 1000]
    assert not local.pauses


def test_an_input_that_cannot_be_read_fails_those_that_wait_too(
    local: LocalRunner, tmp_path: Path
) -> None:
    """Nothing that waits is taken for an absent item."""
    from armoflow.worker.task_progress import TaskProgress

    payload = collection(MAP, abs, values(-1, -2, -3), settings=retried())
    payload.function = type(payload.function)("digest", None, "nowhere")  # type: ignore[misc]
    progress = TaskProgress({1: (1, 0)})
    assert all(isinstance(found, ErrorRecord) for found in local.run(payload, progress=progress))


def test_the_mark_shows_that_nothing_runs_and_what_was_done(
    local: LocalRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens to a child that waits is not the fault of an item."""
    from armoflow.worker import runner
    from armoflow.worker.mark import decode_entries

    seen = []
    sleep = runner.time.sleep

    def look(seconds: float) -> None:
        seen.append(local.mark.position()[1:4])
        sleep(seconds)

    monkeypatch.setattr(runner.time, "sleep", look)
    payload = collection(
        MAP, flaky(tmp_path / "log", {1: 1}), values(0, 1, 2), settings=retried(timeout=60.0)
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    local.run(payload, folder=str(folder))
    assert seen == [(-1, 1, 0)]
    entries = [
        (entry.item, bool(entry.cells), entry.spent, entry.due > 0)
        for _, base, lengths, spool in local.shipped
        for entry in decode_entries(base, memoryview(lengths).cast("I"), spool)
    ]
    assert entries == [
        (0, True, 0, False),
        (1, False, 1, True),
        (2, True, 0, False),
        (1, True, 0, False),
    ]


# --- a seat -------------------------------------------------------------------------------------


async def run_in_folder(host: Seat, payload: Payload, folder: Path) -> Any:
    """As under the worker service."""
    folder.mkdir()
    work = host.work(payload, folder=str(folder))
    host.supervisor.send([work])
    return work


@on_a_loop
async def test_a_crash_leaves_the_attempts_of_those_that_wait(tmp_path: Path) -> None:
    def die_once(value: int) -> int:
        import os as system
        from pathlib import Path as Place

        if value == 3 and not Place(marker).exists():
            Place(marker).touch()
            system.kill(system.getpid(), 9)
        return value

    marker, log = str(tmp_path / "marker"), tmp_path / "log"
    async with seat(tmp_path / "seat") as host:
        payload = collection(
            MAP, flaky(log, {1: 9}, die_once), values(*range(5)), settings=retried(2)
        )
        (outcome,) = await host.run(payload)
        results = output(outcome)
    assert (results[0], *results[2:]) == (0, 2, 3, 4)
    assert results[1].attempts == 3
    counts = {number: runs(log).count(str(number)) for number in range(5)}
    assert counts == {0: 1, 1: 3, 2: 1, 3: 2, 4: 1}


@on_a_loop
async def test_a_crash_ends_no_pause_of_others(tmp_path: Path) -> None:
    def die_once(value: int) -> int:
        import os as system
        from pathlib import Path as Place

        if value == 2 and not Place(marker).exists():
            Place(marker).touch()
            system.kill(system.getpid(), 9)
        return value

    marker, log = str(tmp_path / "marker"), tmp_path / "log"
    async with seat(tmp_path / "seat") as host:
        settings = retried(backoff=LONG)
        payload = collection(
            MAP, flaky(log, {1: 1}, die_once), values(*range(4)), settings=settings
        )
        work = host.work(payload)
        host.supervisor.send([work])
        await host.until(lambda: bool(host.paused_works))
        assert list(work.history.spent) == [1]
    assert runs(log) == ["0", "1", "2", "2", "3"]


@on_a_loop
async def test_a_child_that_dies_while_it_waits_is_replaced(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with seat(tmp_path / "seat") as host:
        payload = collection(MAP, flaky(log, {0: 1}), values(0, 1), settings=retried(backoff=3.0))
        work = await run_in_folder(host, payload, tmp_path / "folder")
        await host.until(lambda: host.supervisor.pid is not None)
        await file_appears(log)
        child = host.supervisor._child
        assert child is not None

        async def rests() -> None:
            import asyncio

            while child.mark.position().item != -1 or "1" not in runs(log):
                await asyncio.sleep(0.005)

        await rests()
        os.kill(child.pid, signal.SIGKILL)
        await host.until(lambda: bool(work.history.spent))
        _, due = work.history.spent[0]
        await host.wait_for([work])
        assert time.monotonic_ns() > due  # its successor has waited for what was left of the pause
        assert host.outcomes[work.key].effects is not None
        ((method, ((log_name, _),)),) = host.requests
        assert (method, log_name) == ("store_results", "items/0 of 2 failed, 1 tried again")
    assert runs(log) == ["0", "1", "0"]


@on_a_loop
async def test_an_attempt_that_took_too_long_is_repeated_after_the_others(tmp_path: Path) -> None:
    def hang_once(value: int) -> int:
        import time as clock
        from pathlib import Path as Place

        if value == 1 and not Place(marker).exists():
            Place(marker).touch()
            clock.sleep(1000)
        return value

    marker, log = str(tmp_path / "marker"), tmp_path / "log"
    async with seat(tmp_path / "seat") as host:
        settings = retried(1, LONG, timeout=0.5)
        payload = collection(MAP, flaky(log, {}, hang_once), values(*range(4)), settings=settings)
        work = host.work(payload)
        host.supervisor.send([work])
        await host.until(lambda: bool(host.paused_works))
        assert list(work.history.spent) == [1]
        assert work.history.spent[1][0] == 1
    assert runs(log) == ["0", "1", "2", "3"]


@on_a_loop
async def test_a_pause_beyond_the_limit_is_not_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with seat(tmp_path / "seat") as host:
        payload = call(flaky(log, {0: 1}), 0, settings=Settings(retries=1, backoff=LONG))
        work = host.work(payload, limit=60.0)
        host.supervisor.send([work])
        await host.wait_for([work])
        assert host.outcomes[work.key].kind == "deadline"
        (after,) = await host.run(call(abs, -1))
        assert output(after) == [1]


@on_a_loop
async def test_other_tasks_run_in_the_pause_of_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with seat(tmp_path / "seat") as host:
        first = call(flaky(log, {"a": 1}), "a", settings=Settings(retries=1, backoff=0.2))
        outcomes = await host.run(first, call(flaky(log, {}), "b"))
        assert [output(outcome) for outcome in outcomes] == [["a"], ["b"]]
        assert [key for key, _ in host.paused_works] == [0]
        assert host.order == [1, 0]
    assert runs(log) == ["a", "b", "a"]


@on_a_loop
async def test_a_lone_item_fails_after_its_pauses(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with seat(tmp_path / "seat") as host:
        payload = call(flaky(log, {"a": 9}), "a", settings=Settings(retries=2, backoff=PAUSE))
        (outcome,) = await host.run(payload)
        assert record(outcome).attempts == 3
        assert len(host.paused_works) == 2


# --- the lane -----------------------------------------------------------------------------------


def lone(log: Path, name: str, backoff: float, failures: int = 1, **settings: Any) -> Payload:
    options = Settings(retries=failures, backoff=backoff, **settings)
    return call(flaky(log, {name: failures}), name, settings=options)


async def paused(lane: Lane, task_id: str) -> None:
    """Wait until a task waits for its retry."""
    watcher = lane.engine.watch(lane.session)
    try:
        while not waits(lane, task_id):
            await anext(aiter(watcher))
    finally:
        watcher.close()


def waits(lane: Lane, task_id: str) -> bool:
    task = lane.engine.state.tasks[task_id]
    return task.status is TaskStatus.SUBMITTED and task.not_before > 0


@on_a_lane(workers=1)
async def test_the_only_worker_runs_others_in_a_pause(lane: Lane) -> None:
    log = lane.directory / "log"
    (waiting,) = lane.submit(lone(log, "waits", LONG))
    await paused(lane, waiting.id)
    others = lane.submit(*(call(flaky(log, {}), f"other-{number}") for number in range(3)))
    assert await lane.ended(others) == ["other-0", "other-1", "other-2"]
    assert runs(log)[0] == "waits"
    engine = lane.engine
    engine.apply(engine.state.cancel_tasks(engine.now(), [waiting.id]))
    await engine.committed()
    record = await engine.read_task(waiting.id)
    assert record is not None
    assert record.status is TaskStatus.CANCELLED
    assert not engine.pauses.waiting


@on_a_lane(workers=1)
async def test_a_pack_goes_on_after_its_pause_where_it_was(lane: Lane) -> None:
    log = lane.directory / "log"
    large = flaky(log, {1: 2, 3: 1}, lambda value: bytes([value]) * 100_000)
    payload = collection(MAP, large, values(*range(5)), settings=retried(2))
    (task,) = lane.submit(payload)
    assert (await lane.slots(task)) == [bytes([value]) * 100_000 for value in range(5)]
    assert runs(log) == ["0", "1", "2", "3", "4", "1", "3", "1"]
    assert not list(lane.directory.rglob("saved-*"))


def test_a_disk_that_does_not_let_go_of_what_was_saved_loses_no_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor that of a neighbour whose end is told with it."""
    unlink = os.unlink
    refused: list[str] = []

    def refuse(path: Any, **options: Any) -> None:
        if "saved-" in os.fspath(path):
            refused.append(os.fspath(path))
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        unlink(path, **options)

    @on_a_lane(workers=1)
    async def scenario(lane: Lane) -> None:
        log = lane.directory / "log"
        large = flaky(log, {0: 1}, lambda value: bytes(100_000))
        (task,) = lane.submit(collection(MAP, large, values(0, 1), settings=retried(2)))
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", refuse)
            await paused(lane, task.id)
            others = lane.submit(*(call(flaky(log, {}), f"other-{number}") for number in range(3)))
            assert await lane.ended(others) == ["other-0", "other-1", "other-2"]
            assert len(await lane.slots(task)) == 2
        assert len(refused) == 1

    scenario(tmp_path)


def test_nor_one_that_does_not_let_go_of_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(str(tmp_path / "process"))
    checkpoints.of_item("task", "0").write("kept")

    def refuse(path: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    with monkeypatch.context() as patch:
        for function in ("unlink", "listdir"):
            patch.setattr(os, function, refuse)
            checkpoints.forget("task")
    assert checkpoints.of_item("task", "0").read() == ("kept",)
    checkpoints.forget("task")
    assert checkpoints.of_item("task", "0").read() is None


@on_a_lane(workers=1)
async def test_a_chain_behind_a_task_that_waits_runs_when_it_has_ended(lane: Lane) -> None:
    """Its followers were sent along with it: the child gives them back."""
    from lanes import consuming

    log = lane.directory / "log"
    (first,) = lane.submit(lone(log, "first", PAUSE))
    add = flaky(log, {}, lambda value: value + "+")
    (second,) = lane.submit(consuming(add, first))
    (third,) = lane.submit(consuming(add, second))
    assert await lane.ended([third]) == ["first++"]
    assert runs(log) == ["first", "first", "first", "first+"]


@on_a_lane(workers=1)
async def test_a_follower_that_waits_goes_back_as_any_task(lane: Lane) -> None:
    from lanes import consuming

    log = lane.directory / "log"
    (first,) = lane.submit(call(flaky(log, {}), "a"))
    again = flaky(log, {"a": 2}, lambda value: value + "!")
    payload = consuming(again, first)
    payload.settings = Settings(retries=1, backoff=PAUSE)
    (second,) = lane.submit(payload)
    assert await lane.ended([second]) == ["a!"]


@on_a_lane(workers=1)
async def test_a_paused_session_holds_a_task_beyond_its_pause(lane: Lane) -> None:
    log = lane.directory / "log"
    engine = lane.engine
    (task,) = lane.submit(lone(log, "waits", PAUSE))
    await paused(lane, task.id)
    engine.apply(engine.state.pause_session(engine.now(), lane.session))
    await until_due(lane)
    assert engine.state.tasks[task.id].status is TaskStatus.PAUSED
    engine.apply(engine.state.resume_session(engine.now(), lane.session))
    assert await lane.ended([task]) == ["waits"]
    assert runs(log) == ["waits", "waits"]


async def until_due(lane: Lane) -> None:
    """A task of another session with the same pause has gone on."""
    engine = lane.engine
    held, lane.session = lane.session, engine.new_id()
    options = ApiOptions(max_duration=600.0, max_retries=1, priority=1)
    engine.apply(engine.state.create_session(engine.now(), lane.session, options, ()))
    await lane.ended(lane.submit(lone(lane.directory / "log-2", "later", PAUSE)))
    lane.session = held


ENDINGS = ["cancel_session", "close_session", "delete_session"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_kept_of_a_session_that_ends(tmp_path: Path, ending: str) -> None:
    @on_a_lane(workers=1)
    async def scenario(lane: Lane) -> None:
        log = lane.directory / "log"
        engine = lane.engine
        large = flaky(log, {0: 1}, lambda value: bytes(100_000))
        settings = retried(backoff=LONG)
        (task,) = lane.submit(collection(MAP, large, values(0, 1), settings=settings))
        await paused(lane, task.id)
        assert len(list(lane.directory.rglob("saved-*"))) == 1
        await engine.apply(getattr(engine.state, ending)(engine.now(), lane.session))
        assert not list(lane.directory.rglob("saved-*"))
        assert not engine.pauses.waiting
        if ending != "delete_session":
            assert engine.state.sessions[lane.session].status is not SessionStatus.RUNNING
            assert (await engine.queries.read_tasks([task.id]))[task.id].status is (
                TaskStatus.CANCELLED
            )

    scenario(tmp_path)


@on_a_lane(workers=1)
async def test_a_pause_is_over_when_the_lane_starts_anew(lane: Lane) -> None:
    """What was finished is lost with the lane, the time is not: then it runs anew."""
    log = lane.directory / "log"
    large = flaky(log, {0: 1}, lambda value: bytes(100_000))
    payload = collection(MAP, large, values(0, 1), settings=retried(backoff=0.5))
    (task,) = lane.submit(payload)
    await paused(lane, task.id)
    await lane.agent.stop()
    assert waits(lane, task.id)
    await lane.hire()
    assert await lane.slots(task) == [bytes(100_000)] * 2


@on_a_lane(workers=1)
async def test_a_pause_longer_than_a_task_may_take_ends_it(lane: Lane) -> None:
    options = ApiOptions(max_duration=60.0, max_retries=1, priority=1)
    (task,) = lane.submit(lone(lane.directory / "log", "late", LONG), options=options)
    (text,) = await lane.ended([task])
    assert "max_duration of 60 s" in str(text)
    ended = await lane.engine.read_task(task.id)
    assert ended is not None
    assert ended.status is TaskStatus.TIMEOUT


def test_a_pause_survives_a_restart_of_the_engine(tmp_path: Path) -> None:
    import asyncio

    async def scenario() -> None:
        log = tmp_path / "log"
        async with Lane(tmp_path, workers=1) as lane:
            (task,) = lane.submit(lone(log, "waits", LONG))
            await paused(lane, task.id)
        engine = Engine(EngineOptions(tmp_path / "state"))
        await engine.start()
        try:
            assert engine.state.tasks[task.id].not_before > engine.now()
            assert engine.pauses.waiting == {task.id}
            assert not engine.scheduler.queued("default")
        finally:
            await engine.stop()
        assert runs(log) == ["waits"]

    asyncio.run(scenario())
