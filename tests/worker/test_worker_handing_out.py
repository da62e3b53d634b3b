"""Items that a task does not run itself go to child tasks, and all of them come together again."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from runners import LocalRunner, content
from seats import KEY, call, code, collection, envelope, items, read, values

from armoflow.agent.effects import Effects
from armoflow.codec.bundle import read_payload
from armoflow.codec.envelope import SlotKind, unpack_envelope
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import InputSlots, Operation, Payload, Settings, Stage
from armoflow.worker.handing_out import PARTS
from armoflow.worker.job import Job

MAP, FILTER = Operation.MAP, Operation.FILTER
LOST = "task###1"


@pytest.fixture
def local(tmp_path: Path) -> LocalRunner:
    return LocalRunner(tmp_path)


def follow(local: LocalRunner, effects: Effects, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run the children of a task; returns all data."""
    data = {**inputs, **effects.data, **local.agent.stored}
    for child in effects.children:
        given = {each: content(data[each]) for each in child.dependencies}
        payload = read_payload(content(data[child.payload_id]), child.outputs)
        ran = local.effects(payload, given, outputs=len(child.outputs))
        data |= {
            result: ran.data[f"output-{number}"] for number, result in enumerate(child.outputs)
        }
    return data


def divided(local: LocalRunner, payload: Payload, **inputs: Any) -> tuple[list[Any], Effects]:
    """What comes of a task that is tried again, and what it asked for."""
    effects = local.effects(payload, inputs, task_id=LOST)
    return read(content(follow(local, effects, inputs)["output-0"])), effects


def parts(effects: Effects) -> list[Payload]:
    payloads = [
        read_payload(content(effects.data[each.payload_id]), each.outputs)
        for each in effects.children
    ]
    return [payload for payload in payloads if payload.operation is not Operation.GATHER]


def no_twos(number: int) -> int:
    if number == 2:
        raise ValueError(number)
    return number


def naps(number: int) -> int:
    time.sleep(0.03)
    return number


def test_a_batch_that_was_lost_is_run_item_by_item(local: LocalRunner) -> None:
    found, effects = divided(local, collection(MAP, no_twos, values(1, 2, 3), positions=5))
    assert [found[0], found[2]] == [1, 3]
    assert isinstance(found[1], ErrorRecord) and found[1].name == "no_twos[6]"
    assert [(part.positions, part.count, part.lost) for part in parts(effects)] == [
        (5, 1, 1),
        (6, 1, 1),
        (7, 1, 1),
    ]


def test_each_part_of_a_batch_knows_where_its_items_are(local: LocalRunner) -> None:
    payload = collection(MAP, no_twos, values(1, 2, 3), positions=[5, 80, 900])
    found, effects = divided(local, payload)
    assert isinstance(found[1], ErrorRecord) and found[1].name == "no_twos[80]"
    assert [part.positions for part in parts(effects)] == [5, 80, 900]


def test_where_an_agent_has_the_data_it_creates_what_children_need(
    local: LocalRunner, tmp_path: Path
) -> None:
    payload = collection(MAP, no_twos, values(1, 2, 3))
    effects = local.effects(payload, folder=str(tmp_path), task_id=LOST)
    assert read(content(follow(local, effects, {})["output-0"]))[::2] == [1, 3]
    assert len(effects.children) == 4


def test_a_large_one_is_divided_and_divided_again(local: LocalRunner) -> None:
    payload = collection(MAP, no_twos, values(*range(10, 10 + 3 * PARTS)))
    found, effects = divided(local, payload)
    assert found == list(range(10, 10 + 3 * PARTS))
    first = parts(effects)[0]
    assert (len(parts(effects)), first.count) == (PARTS, 3)
    again, effects = divided(local, first)
    assert again == [10, 11, 12]
    assert {part.lost for part in parts(effects)} == {2}


def test_whatever_its_items_are_made_of(local: LocalRunner) -> None:
    def add(first: int, second: int) -> int:
        return first + second

    inputs = {"a": envelope(1, 2), "b": envelope(3)}
    payload = collection(
        MAP,
        add,
        [*values(10), InputSlots(0, 1, 2), *items(30)],
        [InputSlots(0, 0, 2), InputSlots(1, 0, 1)],
    )
    payload.inputs = ["a", "b"]
    payload.origins = [("x", None), ("y", 7)]
    assert divided(local, payload, **inputs)[0] == [11, 4, 33]


def test_calls_side_by_side_and_their_chains(local: LocalRunner) -> None:
    payload = collection(
        MAP, no_twos, items(((1,), {}), ((2,), {}), ((-3,), {})), calls=True, settings=None
    )
    payload.collection = False
    payload.stages = [Stage("size", code(abs))]
    found, _ = divided(local, payload)
    assert [found[0], found[2]] == [1, 3]
    assert isinstance(found[1], ErrorRecord) and list(found[1].path) == ["no_twos", "size"]


def test_filters_and_several_outputs(local: LocalRunner) -> None:
    def odd(number: int) -> bool:
        return number % 2 == 1

    assert divided(local, collection(FILTER, odd, values(1, 2, 3)))[0] == [1, None, 3]

    def pair(number: int) -> tuple[int, int]:
        return number, -number

    effects = local.effects(collection(MAP, pair, values(1, 2)), outputs=2, task_id=LOST)
    data = follow(local, effects, {})
    assert [read(content(data[f"output-{number}"])) for number in (0, 1)] == [[1, 2], [-1, -2]]


def test_what_is_no_batch_is_run_as_ever(local: LocalRunner) -> None:
    assert local.effects(call(no_twos, 1), task_id=LOST).children == []
    assert local.effects(collection(MAP, no_twos, values(1)), task_id=LOST).children == []
    gather = collection(Operation.GATHER, None, values(1, 2))
    assert local.effects(gather, task_id=LOST).children == []


def test_an_item_that_is_lost_alone_again_and_again_is_an_error(local: LocalRunner) -> None:
    payload = collection(MAP, no_twos, values(1), positions=4, settings=Settings(packed=True))
    payload.lost = 1
    again = local.effects(payload, task_id="task###2")
    assert read(content(again.data["output-0"])) == [1]
    given_up = local.effects(payload, task_id="task###3")
    (slot,) = unpack_envelope(content(given_up.data["output-0"]))
    assert slot.kind is SlotKind.ERROR
    record = ErrorRecord.decode(slot.data, KEY)
    assert (record.kind, record.name, record.attempts) == ("died", "no_twos[4]", 4)
    assert "no_twos[4]" in given_up.created[0].name


def test_so_is_a_call_of_a_graph_that_items_have_returned(local: LocalRunner) -> None:
    settings = Settings(capture=True, max_retries=2)
    again = local.effects(call(no_twos, 1, settings=settings), task_id=LOST)
    assert read(content(again.data["output-0"])) == [1]
    (record,) = read(
        content(
            local.effects(call(no_twos, 1, settings=settings), task_id="task###2").data["output-0"]
        )
    )
    assert isinstance(record, ErrorRecord) and record.kind == "died"
    gather = collection(Operation.GATHER, None, values(1), settings=settings)
    assert read(content(local.effects(gather, task_id="task###2").data["output-0"])) == [1]


def test_an_item_has_a_run_of_its_own_whatever_was_lost_before(local: LocalRunner) -> None:
    payload = collection(MAP, no_twos, values(1), settings=Settings(packed=True, max_retries=1))
    payload.lost = 9
    assert read(content(local.effects(payload).data["output-0"])) == [1]


@pytest.mark.parametrize("kind", [values, items])
def test_a_batch_that_takes_far_longer_than_it_should_gives_away_the_rest(
    local: LocalRunner, kind: Any
) -> None:
    payload = collection(MAP, naps, kind(*range(8)))
    payload.target = 0.01
    effects = local.effects(payload)
    given = parts(effects)
    assert 1 <= len(given) < 8 and [part.count for part in given] == [1] * len(given)
    assert {part.lost for part in given} == {0}
    assert read(content(follow(local, effects, {})["output-0"])) == list(range(8))


def test_what_was_to_stay_whole_stays_whole(local: LocalRunner) -> None:
    payload = collection(MAP, naps, values(1, 2))
    assert local.effects(payload).children == []
    payload.target, payload.stages = 0.001, [Stage("size", code(abs))]
    assert local.effects(payload).children == []  # its steps go on with what they have


def test_what_is_nearly_done_is_not_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(perf_counter=lambda: 4.0)  # what began at 0 is late with 4
    monkeypatch.setattr("armoflow.worker.job.time", clock)
    job = Job.__new__(Job)
    job.payload = Payload(MAP, "f", count=8, target=1.0)
    job.late, job.pending, job.attempts = 4.0, {}, SimpleNamespace(due={})  # type: ignore[assignment]
    assert [job.gives_away(item) for item in (0, 2, 6, 7)] == [False, True, True, False]
    clock.perf_counter = lambda: 3.9
    assert not job.gives_away(2)
    clock.perf_counter = lambda: 4.0
    job.attempts.due = {1: 0}  # one of those before is tried again here
    assert not job.gives_away(2)
