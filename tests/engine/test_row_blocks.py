"""Lists of long tables say the same, whatever is known of blocks of rows, and read less."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from engine_support import Running, in_loop

from armoflow.agent.effects import Effects
from armoflow.engine.filters import Condition, find_field, make_predicate
from armoflow.engine.records import ApiOptions, NewResult, NewTask
from armoflow.engine.selection import Selection

NAMES = ["alpha", "beta", "été"]
TASK_SORTS = [
    *("id", "created_at", "started_at", "ended_at", "status", "error", "pod_hostname"),
    *("payload_id", "creation_to_end", "options.priority", "options.options.k"),
]
RESULT_SORTS = ["id", "created_at", "completed_at", "name", "size", "status", "owner_task_id"]
LONG_AGO = Condition("created_at", ">", 1e9)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of some rows are taken for very long ones."""
    monkeypatch.setattr("armoflow.engine.row_blocks.BLOCK", 4)
    monkeypatch.setattr("armoflow.engine.row_blocks.LONG", 0)
    monkeypatch.setattr("armoflow.engine.row_blocks.AT_ONCE", 3)
    monkeypatch.setattr("armoflow.engine.pages.SHORT", 0)
    monkeypatch.setattr("armoflow.engine.pages.WALK", 15)
    monkeypatch.setattr("armoflow.engine.selection.SAMPLE", 40)
    monkeypatch.setattr("armoflow.engine.selection.FEW", 2)


class Queue:
    """Tasks that come, run and go, as dice say."""

    def __init__(self, running: Running, seed: int) -> None:
        self.running = running
        self.engine = running.engine
        self.dice = random.Random(seed)

    async def change(self, *, deletes: bool = True) -> None:
        """Do some of all that changes rows."""
        dice, engine, state = self.dice, self.engine, self.engine.state
        for _ in range(dice.randrange(1, 12)):
            self._submit()
        for task_id in self.running.take(dice.randrange(8)):
            if dice.random() < 0.4:
                output = state.tasks[task_id].outputs[0]
                engine.complete([(task_id, Effects(data={output: b"1" * dice.randrange(9)}))])
            elif dice.random() < 0.5:
                engine.fail(task_id, dice.choice(NAMES))
        if dice.random() < 0.2:
            waiting = [task for task in state.tasks.values() if not task.owner]
            engine.apply(state.cancel_tasks(engine.now(), [task.id for task in waiting[:2]]))
        if deletes and dice.random() < 0.1:
            last = self.running.session
            self.running.open_session()
            await engine.sweeper.change(last, lambda: state.delete_session(engine.now(), last))
        if dice.random() < 0.5:
            await engine.committed()

    def _submit(self) -> None:
        dice, engine, session = self.dice, self.engine, self.running.session
        some = dice.choice([{}, {"k": dice.choice(NAMES)}])
        options = ApiOptions(60.0, 1, dice.randrange(3), options=some)
        task = NewTask(engine.new_id(), engine.new_id(), (), (engine.new_id(),), options)
        stored = engine.objects.put(b"x" * dice.randrange(3)) if dice.random() < 0.9 else None
        results = [
            NewResult(task.payload_id, dice.choice(NAMES), stored=stored),
            NewResult(task.outputs[0], dice.choice(NAMES)),
        ]
        now = engine.now()
        engine.apply(engine.state.create_results(now, session, results))
        engine.apply(engine.state.submit_tasks(now, session, None, [task]))

    async def check(self, entity: Any, sorts: list[str]) -> None:
        """Compare some pages with a plain sort of all rows."""
        dice = self.dice
        everything = (await getattr(self.engine.queries, entity)(page_size=10_000)).items
        for _ in range(4):
            filters, sort, down = self._filters(entity), dice.choice(sorts), dice.random() < 0.5
            get = find_field(entity, sort).get

            matching = filter(make_predicate(entity, filters), everything)
            expected = [each.id for each in sorted(matching, key=_key(get), reverse=down)]
            size = dice.choice([0, 2, 5])
            number = dice.choice([0, 1, len(expected) // max(2 * size, 1), len(expected) // 5])
            page = await getattr(self.engine.queries, entity)(
                filters, sort=sort, descending=down, page=number, page_size=size
            )
            assert page.total == len(expected), (filters, sort)
            wanted = expected[size * number : size * number + size]
            assert [each.id for each in page.items] == wanted, (filters, sort, down, number, size)

    def _filters(self, entity: str) -> list[list[Condition]]:
        dice = self.dice
        some = [
            LONG_AGO,
            Condition("created_at", "<=", self.engine.now() - dice.random() * 0.1),
            Condition("session_id", "==", self.running.session),
            Condition("status", dice.choice(["==", "!="]), dice.randrange(1, 8)),
        ]
        if entity == "tasks":
            some += [
                Condition("ended_at", dice.choice([">", "<", "=="]), dice.choice([1e9, 2e9])),
                Condition("ended_at", dice.choice(["==", "!="]), None),
                Condition("options.priority", "<", dice.randrange(3)),
                Condition("options.options.k", "==", dice.choice([None, *NAMES])),
                Condition("error", "contains", dice.choice(NAMES)),
            ]
        else:
            some += [Condition("size", ">=", 1), Condition("name", "starts with", "a")]
        return [dice.sample(some, dice.randrange(1, 3)) for _ in range(dice.choice([0, 1, 1, 2]))]


def _key(get: Any) -> Any:
    def key(record: Any) -> Any:
        value = get(record)
        return (1, 0, record.id) if value is None else (0, value, record.id)

    return key


@pytest.mark.parametrize("seed", range(6))
@in_loop
async def test_pages_are_right_while_rows_come_and_change_and_go(tmp_path: Path, seed: int) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        queue = Queue(running, seed)
        for _ in range(25):
            await queue.change()
            if queue.dice.random() < 0.5:
                running.engine.row_blocks.look()
            if queue.dice.random() < 0.5:
                await running.engine.row_blocks.looked()
            await running.engine.committed()
            await queue.check("tasks", TASK_SORTS)
            await queue.check("results", RESULT_SORTS)
        assert running.engine.creation_order.holds


@in_loop
async def test_first_and_last_pages_read_some_blocks_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    scan = Selection._scan

    def counted(selection: Selection, connection: Any, first: int, last: int) -> Any:
        read.append(last - first + 1)
        return scan(selection, connection, first, last)

    monkeypatch.setattr(Selection, "_scan", counted)
    async with Running(tmp_path) as running:
        running.open_session()
        queue = Queue(running, 1)
        for _ in range(40):
            await queue.change(deletes=False)
        await running.engine.committed()
        running.engine.row_blocks.look()
        await running.engine.row_blocks.looked()
        total = (await running.engine.queries.tasks(page_size=0)).total
        filters: tuple[Any, ...] = (
            [],
            [[Condition("session_id", "==", running.session), LONG_AGO]],
        )
        sorts = ("started_at", "error", "status", "payload_id", "creation_to_end")
        for some, sort, down, last in product(filters, sorts, (False, True), (False, True)):
            read.clear()
            page = await running.engine.queries.tasks(
                some, sort=sort, descending=down, page=(total - 1) // 4 if last else 0, page_size=4
            )
            assert page.total > 100
            assert sum(read) < total / 2, (some, sort, down, last)


@in_loop
async def test_blocks_are_not_known_once_the_clock_was_set_back(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        engine, queue = running.engine, Queue(running, 2)
        for _ in range(3):
            await queue.change(deletes=False)
        await engine.committed()
        engine.row_blocks.look()
        await engine.row_blocks.looked()
        assert engine.row_blocks.known("results")
        engine.clock.read = lambda: 1_700_000_000.0
        await queue.change(deletes=False)
        await engine.committed()
        assert engine.row_blocks.known("results") is None
        await queue.check("results", RESULT_SORTS)
        engine.row_blocks.look()
        await engine.row_blocks.looked()
        await queue.check("results", RESULT_SORTS)
