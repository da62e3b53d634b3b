"""List calls: SQL over the journal gives what a predicate over the records gives."""

from __future__ import annotations

import asyncio
import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from engine_support import Running, in_loop
from hypothesis import given
from hypothesis import strategies as st

from armoflow.agent.effects import Effects
from armoflow.engine.core import Engine
from armoflow.engine.filters import Condition, find_field, make_clause, make_predicate
from armoflow.engine.queries import Application
from armoflow.engine.reader import Scanner
from armoflow.engine.records import (
    ApiOptions,
    NewResult,
    NewTask,
    Partition,
    ResultStatus,
    StateError,
    TaskRecord,
    TaskStatus,
)

NAMES = ["alpha", "Alpha", "al%pha", "a_l*", "beta ']\"\\", "", "été\n"]
PARTITIONS = (
    Partition("default", pod_max=4),
    Partition("gpu", ("default",), priority=3),
    Partition("gpu-large", ("default", "gpu")),
)


@pytest.fixture(params=["short", "long", "misled"], autouse=True)
def table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are short, or taken for long ones; then samples tell right, or wrong now and then."""
    if request.param != "short":
        monkeypatch.setattr("armoflow.engine.pages.SHORT", 0)
        monkeypatch.setattr("armoflow.engine.reader.SHORT", 0)
        monkeypatch.setattr("armoflow.engine.creation_order.AT_ONCE", 30)
        monkeypatch.setattr("armoflow.engine.pages.WALK", 15)
        monkeypatch.setattr("armoflow.engine.selection.SAMPLE", 40)
        monkeypatch.setattr("armoflow.engine.selection.FEW", 2)
        doubt = 1.0 if request.param == "long" else 0.0
        monkeypatch.setattr("armoflow.engine.selection.DOUBT", doubt)


def set_clock(engine: Engine, now: float) -> None:
    """It stands there."""
    engine.clock.read = lambda: now
    engine.now()


async def fill(running: Running) -> None:
    """Tasks in every state, with options of all sorts."""
    engine, dice = running.engine, random.Random(5)
    set_clock(engine, 1_700_000_000.0)
    for number in range(3):
        running.session = engine.new_id()
        options = ApiOptions(60.0, 2, 1, application_name=NAMES[number], options={"s": str(number)})
        ids = ("default", "gpu") if number else ("default",)
        now = 1_700_000_000.0 + number
        engine.apply(engine.state.create_session(now, running.session, options, ids))
        for serial in range(20):
            now += 0.1
            task = NewTask(
                engine.new_id(),
                engine.new_id(),
                (),
                (engine.new_id(),),
                ApiOptions(
                    max_duration=dice.choice([0.1, 5.0]),
                    priority=dice.randrange(1, 4),
                    application_name=dice.choice(NAMES),
                    options=dice.choice([{}, {"k": dice.choice(NAMES)}]),
                ),
            )
            results = [
                NewResult(task.payload_id, dice.choice(NAMES), manual_deletion=serial % 3 == 0),
                NewResult(task.outputs[0], dice.choice(NAMES)),
            ]
            state = engine.state
            engine.apply(state.create_results(now, running.session, results))
            engine.apply(state.submit_tasks(now, running.session, None, [task]))
            if serial % 4:
                stored = engine.objects.put(b"x" * serial)
                engine.apply(
                    state.complete_results(now, running.session, [(task.payload_id, stored)])
                )
        for position, task_id in enumerate(running.take(10)):
            record = engine.state.tasks[task_id]
            if position % 3 == 0:
                engine.complete([(task_id, Effects(data={record.outputs[0]: b"1"}))])
            elif position % 3 == 1:
                engine.fail(task_id, dice.choice(NAMES))
    await engine.committed()


TASK_FIELDS = {
    "text": [
        "id",
        "session_id",
        "owner_pod_id",
        "pod_hostname",
        "error",
        "options.application_name",
        "options.partition_id",
        "options.options.k",
        "options.options.none",
    ],
    "number": [
        "status",
        "created_at",
        "started_at",
        "ended_at",
        "creation_to_end",
        "received_to_end",
        "options.priority",
        "options.max_duration",
    ],
}
RESULT_FIELDS = {
    "text": ["id", "session_id", "name", "owner_task_id", "opaque_id"],
    "number": ["status", "size", "created_at", "completed_at"],
}
TEXT = ["==", "!=", "contains", "not contains", "starts with", "ends with"]
NUMBER = ["==", "!=", "<", "<=", ">", ">="]


def conditions(fields: dict[str, list[str]], records: list[Any], entity: Any) -> Any:
    """Conditions whose values are near those that occur."""

    @st.composite
    def draw_condition(draw: Any) -> Condition:
        kind = draw(st.sampled_from(sorted(fields)))
        name = draw(st.sampled_from(fields[kind]))
        value = find_field(entity, name).get(draw(st.sampled_from(records)))
        operator = draw(st.sampled_from(TEXT if kind == "text" else NUMBER))
        if kind == "text" and draw(st.booleans()):
            value = draw(st.sampled_from([*NAMES, "a", "%", "_", "lph", "ta ']\"\\"]))
        if value is None and operator not in ("==", "!="):
            value = "" if kind == "text" else 0.0
        return Condition(name, operator, value)

    return st.lists(st.lists(draw_condition(), max_size=3), max_size=3)


@in_loop
async def test_filters_and_sorts_agree_with_the_predicate(tmp_path: Path) -> None:
    async with Running(tmp_path, partitions=PARTITIONS) as running:
        await fill(running)
        queries = running.engine.queries
        loop = asyncio.get_running_loop()
        tasks = (await queries.tasks(page_size=1000)).items
        results = (await queries.results(page_size=1000)).items
        assert (len(tasks), len(results)) == (60, 120)

        def check(
            entity: Any, records: list[Any], filters: Any, sort: str, down: bool, number: int
        ) -> None:
            list_call = getattr(queries, entity)(
                filters, sort=sort, descending=down, page=number, page_size=9
            )
            page = asyncio.run_coroutine_threadsafe(list_call, loop).result(30)
            expected = list(filter(make_predicate(entity, filters), records))
            get = find_field(entity, sort).get
            expected.sort(
                key=lambda record: (
                    (get(record) is None, get(record) or 0, record.id)
                    if not isinstance(get(record), str)
                    else (False, get(record).encode(), record.id)
                ),
                reverse=down,
            )
            assert page.total == len(expected)
            wanted = expected[9 * number : 9 * number + 9]
            assert [record.id for record in page.items] == [record.id for record in wanted]

        @given(
            conditions(TASK_FIELDS, tasks, "tasks"),
            st.sampled_from(
                [
                    *("id", "created_at", "ended_at", "pod_hostname", "status"),
                    *("options.application_name", "options.options.k", "creation_to_end"),
                ]
            ),
            st.booleans(),
            st.integers(0, 7),
        )
        def check_tasks(filters: Any, sort: str, down: bool, number: int) -> None:
            check("tasks", tasks, filters, sort, down, number)

        @given(
            conditions(RESULT_FIELDS, results, "results"),
            st.sampled_from(["id", "name", "size", "completed_at", "opaque_id"]),
            st.booleans(),
            st.integers(0, 14),
        )
        def check_results(filters: Any, sort: str, down: bool, number: int) -> None:
            check("results", results, filters, sort, down, number)

        await asyncio.to_thread(check_tasks)
        await asyncio.to_thread(check_results)


@pytest.mark.parametrize("operator", ["!=", "not contains"])
@in_loop
async def test_what_a_task_does_not_have_passes_no_test(tmp_path: Path, operator: Any) -> None:
    async with Running(tmp_path, partitions=PARTITIONS) as running:
        await fill(running)
        for text in ("", "a"):
            without = [[Condition("options.options.none", operator, text)]]
            assert (await running.engine.queries.tasks(without, page_size=1)).total == 0
            test = make_predicate("tasks", without)
            assert not any(map(test, running.engine.state.tasks.values()))


@in_loop
async def test_records_read_back_as_they_are(tmp_path: Path) -> None:
    async with Running(tmp_path, partitions=PARTITIONS) as running:
        await fill(running)
        engine = running.engine
        live: list[TaskRecord] = list(engine.state.tasks.values())
        read = await engine.queries.read_tasks([task.id for task in live])
        for task in live:
            for name in TaskRecord.__slots__:
                if name not in {"remaining", "counted"}:  # which are not journalled
                    assert getattr(read[task.id], name) == getattr(task, name), name
        results = list(engine.state.results.values())
        found = await engine.queries.read_results([result.id for result in results])
        for result in results:
            for name in ("name", "status", "created_at", "completed_at", "opaque_id", "size"):
                assert getattr(found[result.id], name) == getattr(result, name), name
        sessions = (await engine.queries.sessions(page_size=10)).items
        assert [s.partition_ids for s in sessions][1] == ("default", "gpu")
        assert await engine.queries.read_tasks(["unknown"]) == {}


@in_loop
async def test_pages(tmp_path: Path) -> None:
    async with Running(tmp_path, partitions=PARTITIONS) as running:
        await fill(running)
        queries = running.engine.queries
        for sort, down in product(("created_at", "ended_at", "status"), (False, True)):
            order: Any = {"sort": sort, "descending": down}
            everything = (await queries.tasks(page_size=1000, **order)).items
            seen = []
            for number in range(9):
                page = await queries.tasks(page=number, page_size=7, **order)
                assert page.total == 60
                seen += [task.id for task in page.items]
            assert seen == [task.id for task in everything]
        assert (await queries.tasks(page=100, page_size=7)).items == []
        none = await queries.tasks(page_size=0)
        assert (none.items, none.total) == ([], 60)
        with pytest.raises(StateError, match="negative"):
            await queries.tasks(page=-1)


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables that a scan has gone through, one after the other."""
    tables: list[str] = []
    scan = Scanner.scan

    async def counted(scanner: Scanner, table: str, *arguments: Any) -> list[Any]:
        tables.append(table)
        return await scan(scanner, table, *arguments)

    monkeypatch.setattr(Scanner, "scan", counted)
    return tables


@in_loop
async def test_a_page_may_be_as_long_as_a_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("armoflow.engine.list_query.LONGEST", 59)
    async with Running(tmp_path, partitions=PARTITIONS) as running:
        await fill(running)
        queries = running.engine.queries
        for sort in ("id", "created_at", "status"):
            with pytest.raises(StateError, match=r"60 tasks, more .* page_size of at most 59"):
                await queries.tasks(page_size=2**31 - 1, sort=sort)
            assert len((await queries.tasks(page_size=59, sort=sort)).items) == 59
            assert len((await queries.tasks(page=1, page_size=59, sort=sort)).items) == 1
        order: Any = {"page": 2**31 - 1, "page_size": 2**31 - 1}
        assert (await queries.tasks(**order)).items == []
        mine = [[Condition("session_id", "==", running.session)]]
        assert len((await queries.tasks(mine, page_size=2**31 - 1)).items) == 20


@pytest.mark.parametrize("length", [20_000, 30])
@in_loop
async def test_a_page_is_not_looked_for_again_while_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scanned: list[str], length: int
) -> None:
    monkeypatch.setattr("armoflow.engine.selection.LENGTH", length)
    monkeypatch.setattr("armoflow.engine.kept_orders.LENGTH", length)
    monkeypatch.setattr("armoflow.engine.selection.DOUBT", 100.0)
    async with Running(tmp_path, partitions=PARTITIONS) as running:
        await fill(running)
        engine = running.engine

        async def listed(sort: str, *, size: int = 4, down: bool = False) -> list[str]:
            found: list[str] = []
            for number in range(-(-60 // size)):
                page = await engine.queries.tasks(
                    sort=sort, descending=down, page=number, page_size=size
                )
                assert page.total == 60
                found += [task.id for task in page.items]
            return found

        for sort, down in product(("status", "ended_at", "options.priority"), (False, True)):
            before = await listed(sort, down=down)
            scanned.clear()
            assert await listed(sort, down=down) == before
            assert await listed(sort, size=7, down=down) == before
            assert scanned == []
        open_ones = (await engine.queries.tasks([[Condition("status", "==", 2)]])).items
        engine.apply(engine.state.cancel_tasks(engine.now(), [task.id for task in open_ones]))
        await engine.committed()
        tasks = (await engine.queries.tasks(page_size=60)).items
        by_status = [task.id for task in sorted(tasks, key=lambda task: (task.status, task.id))]
        assert open_ones and await listed("status") == by_status
        await engine.sweeper.change(
            running.session, lambda: engine.state.delete_session(engine.now(), running.session)
        )
        kept = (await engine.queries.tasks(sort="status", page_size=60)).items
        assert {task.session_id for task in kept} == {*engine.state.sessions}


@in_loop
async def test_a_page_is_not_looked_for_again_while_rows_are_only_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scanned: list[str]
) -> None:
    """What is added is sorted in; what changes is looked for, unless it keeps its place."""
    monkeypatch.setattr("armoflow.engine.selection.DOUBT", 100.0)
    async with Running(tmp_path, partitions=PARTITIONS) as running:
        await fill(running)
        engine = running.engine
        orders = [*product(("name", "status", "completed_at"), (False, True))]
        named = [[Condition("name", "!=", "beta")]]

        async def listed(sort: str, down: bool) -> list[str]:
            pages = [
                await engine.queries.results(
                    named, sort=sort, descending=down, page=page, page_size=size
                )
                for page, size in ((0, 0), (0, 200), (1, 50))
            ]
            assert {page.total for page in pages} == {len(pages[1].items)}
            assert [each.id for each in pages[1].items[50:100]] == [e.id for e in pages[2].items]
            return [each.id for each in pages[1].items]

        async def as_sorted(sort: str, down: bool) -> list[str]:
            results = (await engine.queries.results(page_size=1000)).items
            get, unset = find_field("results", sort).get, float("inf")
            kept = [result for result in results if result.name != "beta"]
            key = lambda r: (unset if get(r) is None else get(r), r.id)  # noqa: E731
            return [result.id for result in sorted(kept, key=key, reverse=down)]

        for order in orders:
            await listed(*order)
        for name in ("alpha", "beta", "", "zeta"):
            new = NewResult(engine.new_id(), name)
            engine.apply(engine.state.create_results(engine.now(), running.session, [new]))
            await engine.committed()
            before = len(scanned)
            found = [await listed(*order) for order in orders]
            assert len(scanned) == before
            assert found == [await as_sorted(*order) for order in orders]
        stored = engine.objects.put(b"data")
        engine.apply(
            engine.state.complete_results(engine.now(), running.session, [(new.id, stored)])
        )
        await engine.committed()
        before = len(scanned)
        assert [await listed("name", down) for down in (False, True)] == [
            await as_sorted("name", down) for down in (False, True)
        ]
        assert len(scanned) == before
        assert await listed("status", False) == await as_sorted("status", False)


@in_loop
async def test_pages_in_the_order_of_creation(tmp_path: Path, scanned: list[str]) -> None:
    """That of a long table's rows, but where the clock was set back; rows come and go."""
    async with Running(tmp_path, partitions=PARTITIONS) as running:
        queries, engine = running.engine.queries, running.engine
        sessions = [running.open_session() for _ in range(2)]
        created: list[str] = []

        async def create(now: float, count: int) -> None:
            for number in range(count):
                set_clock(engine, now + number / 8)
                result = NewResult(engine.new_id(), str(number % 2))
                session = sessions[number % 2]
                engine.apply(engine.state.create_results(engine.now(), session, [result]))
                created.append(result.id)
            await engine.committed()

        async def listed(*filters: Condition, size: int, down: bool = False) -> list[str]:
            order: Any = {"sort": "created_at", "descending": down, "page_size": size}
            first = await queries.results([filters] if filters else (), **order)
            found = [item.id for item in first.items]
            for page in range(1, -(-first.total // size)):
                order["page"] = page
                found += [item.id for item in (await queries.results(filters, **order)).items]
            return found

        for now in (4_700_000_000.0, 4_700_000_100.0):
            await create(now, 100)
            scanned.clear()
            assert await listed(size=30) == created
            assert await listed(size=30, down=True) == created[::-1]
            assert not scanned
            (mine,) = (Condition("session_id", "==", sessions[1]),)
            assert await listed(mine, size=1000) == created[1::2]
            assert await listed(mine, Condition("name", "==", "0"), size=10) == []
        await create(4_600_000_000.0, 50)
        assert await listed(size=1000) == created[200:] + created[:200]
        engine.apply(engine.state.delete_session(engine.now(), sessions[0]))
        while (total := (await queries.results(page_size=0)).total) > 125:
            await asyncio.sleep(0.001)
        assert total == 125
        assert await listed(size=1000) == created[201::2] + created[1:200:2]


@in_loop
async def test_more_rows_than_are_read_at_once(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        results = [NewResult(engine.new_id(), f"{number:05}") for number in range(1800)]
        engine.apply(engine.state.create_results(engine.now(), session, results))
        await engine.committed()
        page = await engine.queries.results(sort="name", descending=True, page_size=1700)
        assert [result.name for result in page.items] == [
            f"{number:05}" for number in range(1799, 99, -1)
        ]
        wanted = [[Condition("id", "==", r.id), Condition("status", "==", 1)] for r in results]
        page = await engine.queries.results(wanted, page_size=5000)
        assert page.total == len(page.items) == 1800
        assert len(await engine.queries.read_results([r.id for r in results])) == 1800


def test_many_alternatives_use_the_index() -> None:
    clause = make_clause(
        "results",
        [[Condition("session_id", "==", "s"), Condition("id", "==", f"{n}")] for n in range(3)],
    )
    assert clause.sql == "e.id IN (?,?,?) AND (e.session_id IS ?)"
    assert clause.parameters == ["0", "1", "2", "s"]


def test_deep_alternatives_are_balanced() -> None:
    filters = [[Condition("size", ">", n), Condition("status", "!=", n)] for n in range(3000)]
    depth = deepest = 0
    for character in make_clause("results", filters).sql:
        depth += {"(": 1, ")": -1}.get(character, 0)
        deepest = max(deepest, depth)
    assert deepest < 20
    with pytest.raises(StateError, match="conditions"):
        make_clause("results", filters * 3)


@in_loop
async def test_sessions_partitions_applications_and_counts(tmp_path: Path) -> None:
    async with Running(tmp_path, partitions=PARTITIONS) as running:
        await fill(running)
        queries = running.engine.queries
        tasks = (await queries.tasks(page_size=1000)).items
        page = await queries.sessions([[Condition("partition_ids", "contains", "gpu")]])
        assert page.total == 2
        page = await queries.sessions([[Condition("partition_ids", "not contains", "gpu")]])
        assert page.total == 1
        page = await queries.sessions([[Condition("client_submission", "==", True)]])
        assert page.total == 3
        page = await queries.sessions([[Condition("options.options.s", "==", "1")]])
        assert [session.options.options for session in page.items] == [{"s": "1"}]
        page = await queries.sessions([[Condition("closed_at", "==", None)]])
        assert page.total == 3

        found = await queries.partitions([[Condition("parent_ids", "contains", "default")]])
        assert [partition.id for partition in found.items] == ["gpu", "gpu-large"]
        assert found.items[0] is running.engine.partitions["gpu"]
        found = await queries.partitions(sort="priority", descending=True, page_size=1)
        assert ([p.id for p in found.items], found.total) == (["gpu"], 3)

        names = {task.options.application_name for task in tasks}
        applications = await queries.applications(page_size=2)
        assert applications.total == len(names)
        assert applications.items == [Application(n, "", "", "") for n in sorted(names)[:2]]
        named = [[Condition("options.application_name", "==", "Alpha")]]
        assert (await queries.applications(named)).total == 1

        counts = await queries.count_tasks()
        assert sum(counts.values()) == 60
        assert counts[TaskStatus.COMPLETED] == 12
        errors = await queries.count_tasks([[Condition("status", "==", TaskStatus.ERROR)]])
        assert set(errors) == {TaskStatus.ERROR}
        deleted = [[Condition("status", "==", ResultStatus.DELETED)]]
        assert (await queries.results(deleted)).total == 0


@pytest.mark.parametrize(
    ("entity", "condition"),
    [
        ("tasks", Condition("colour", "==", "red")),
        ("results", Condition("options.options.x", "==", "red")),
        ("tasks", Condition("created_at", "contains", "red")),
        ("tasks", Condition("id", "<", "red")),
        ("tasks", Condition("created_at", "==", "red")),
        ("tasks", Condition("created_at", "<", None)),
        ("sessions", Condition("partition_ids", "==", "red")),
        ("sessions", Condition("client_submission", "==", 2)),
    ],
)
def test_conditions_that_make_no_sense(entity: Any, condition: Condition) -> None:
    for make in (make_clause, make_predicate):
        with pytest.raises(StateError) as caught:
            make(entity, [[condition]])
        assert caught.value.code == "INVALID_ARGUMENT"
