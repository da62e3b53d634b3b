from __future__ import annotations

import operator
import pickle
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from runners import LocalRunner, content
from seats import KEY, call, code, collection, encode, envelope, items, values

from armoflow import config
from armoflow.agent.effects import StagedFile
from armoflow.codec.envelope import Slot, SlotKind, pack_envelope, unpack_told
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import (
    CodeReference,
    InputSlots,
    Operation,
    Payload,
    Pickled,
    Settings,
    Stage,
)
from armoflow.codec.pickling import dumps
from armoflow.codec.recording import record_exception
from armoflow.worker.runner import TaskFailure
from armoflow.worker.task_progress import TaskProgress

MAP, FILTER, COMBINE, GATHER = (
    Operation.MAP,
    Operation.FILTER,
    Operation.COMBINE,
    Operation.GATHER,
)


class Reference:
    """Stands in arguments for something outside of the pickle."""

    def __init__(self, *place: Any) -> None:
        self.place = place


def referring(value: Any) -> Pickled:
    return dumps(value, lambda part: part.place if isinstance(part, Reference) else None)


def error_slot(message: str = "boom", kind: SlotKind = SlotKind.ERROR) -> Slot:
    return Slot(kind, record_exception(ValueError(message), node="root", item=7).encode(KEY))


@pytest.fixture
def local(tmp_path: Path) -> LocalRunner:
    return LocalRunner(tmp_path)


def fail(local: LocalRunner, payload: Payload, *args: Any, **kwargs: Any) -> ErrorRecord:
    with pytest.raises(TaskFailure) as caught:
        local.effects(payload, *args, **kwargs)
    record = ErrorRecord.find(caught.value.text, KEY)
    assert record is not None, caught.value.text
    assert record.kind == caught.value.kind
    return record


# --- calls --------------------------------------------------------------------------------------


def test_call_returns_its_value(local: LocalRunner) -> None:
    def power(base: int, *, exponent: int) -> int:
        return base**exponent

    assert local.run(call(power, 3, exponent=4)) == [81]


def test_call_with_references_to_slots_lists_and_constants(local: LocalRunner) -> None:
    def collect(one: Any, many: list[Any], constant: Any) -> Any:
        return one, many, constant

    payload = call(collect)
    payload.arguments = referring(
        (
            (
                Reference("slot", 0, 1),
                Reference("list", ((1, 0, 3), (0, 0, 1))),
                Reference("constant", 0),
            ),
            {},
        )
    )
    payload.inputs = ["a", "b"]
    payload.constants = ["c"]
    local.agent.stored["c"] = envelope({"constant": 1})
    inputs = {"a": envelope(10, "eleven"), "b": envelope(20, None, 22)}
    for _ in range(2):
        assert local.run(payload, inputs) == [("eleven", [20, 22, 10], {"constant": 1})]
    assert local.agent.calls == [("fetch", "c")]  # the second time it is here


def test_the_same_slot_is_the_same_object(local: LocalRunner) -> None:
    def same(first: Any, second: Any) -> bool:
        return first is second

    payload = call(same)
    payload.arguments = referring(((Reference("slot", 0, 0), Reference("slot", 0, 0)), {}))
    payload.inputs = ["a"]
    assert local.run(payload, {"a": envelope([1])}) == [True]


def test_a_raising_call_fails_with_its_record(local: LocalRunner) -> None:
    def broken(value: int) -> int:
        raise KeyError(value)

    record = fail(local, call(broken, 5))
    assert (record.type_name, record.node, record.item, record.attempts) == (
        "KeyError",
        "broken",
        None,
        1,
    )
    assert record.frames[-1].function == "broken"
    error = record.exception()
    assert isinstance(error, KeyError)
    assert error.args == (5,)


@pytest.mark.parametrize("flag", ["packed", "capture"])
def test_a_tolerant_call_ends_in_an_error_slot(local: LocalRunner, flag: str) -> None:
    def broken() -> None:
        raise ValueError("x")

    (record,) = local.run(call(broken, settings=Settings(**{flag: True})))
    assert record.message == "x"


def test_even_an_exit_is_only_an_error(local: LocalRunner) -> None:
    def leave() -> None:
        raise SystemExit(3)

    assert fail(local, call(leave)).type_name == "SystemExit"


@pytest.mark.parametrize("kind", [SlotKind.ERROR, SlotKind.SKIPPED])
def test_a_consumer_of_a_failed_slot_runs_no_user_code(
    local: LocalRunner, kind: SlotKind, tmp_path: Path
) -> None:
    ran = str(tmp_path / "ran")

    def consume(value: Any) -> None:
        from pathlib import Path as Place

        Place(ran).touch()

    payload = call(consume)
    payload.arguments = referring(((Reference("slot", 0, 0),), {}))
    payload.inputs = ["a"]
    inputs = {"a": envelope(error_slot(kind=kind))}
    record = fail(local, payload, inputs)
    assert (record.name, record.message) == ("root[7]", "boom")
    assert record.path == ["root[7]", "consume"]
    payload.settings = Settings(packed=True)
    (slot,) = local.slots(payload, inputs)
    assert slot.kind is SlotKind.SKIPPED
    assert isinstance(ErrorRecord.decode(slot.data, KEY).exception(), ValueError)
    assert not Path(ran).exists()


def test_several_outputs(local: LocalRunner) -> None:
    def split(value: int) -> tuple[int, str]:
        return value, str(value)

    assert local.run(call(split, 5), outputs=2) == [[5], ["5"]]


@pytest.mark.parametrize("value", [(1, 2, 3), 5, "ab", {"a": 1, "b": 2}])
def test_the_wrong_number_of_outputs_is_a_clear_error(local: LocalRunner, value: Any) -> None:
    def split() -> Any:
        return value

    record = fail(local, call(split), outputs=2)
    assert "'split' has outputs=2 and must return a sequence of 2 values, not" in record.message


def test_a_coroutine_function_is_run_to_its_end(local: LocalRunner) -> None:
    async def double(value: int) -> int:
        return 2 * value

    assert local.run(call(double, 4)) == [8]


def test_a_generator_function_is_refused(local: LocalRunner) -> None:
    def count() -> Any:
        yield 1

    assert "return a list instead" in fail(local, call(count)).message


def test_a_result_that_cannot_be_pickled_names_the_part(local: LocalRunner) -> None:
    def lock() -> Any:
        return {"a": [threading.Lock()]}

    assert "value['a'][0]" in fail(local, call(lock)).message


def test_a_large_output_is_staged(local: LocalRunner) -> None:
    def produce() -> bytes:
        return b"x" * 200_000

    effects = local.effects(call(produce))
    staged = effects.data["output-0"]
    assert isinstance(staged, StagedFile)
    assert local.run(call(produce)) == [b"x" * 200_000]


def test_outputs_go_to_the_agents_folder(local: LocalRunner, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    effects = local.effects(call(int), folder=str(folder))
    assert effects.data == {
        "output-0": StagedFile(str(folder / "output-0"), (folder / "output-0").stat().st_size)
    }


def test_where_an_agent_brings_data_the_result_says_how_long_its_items_took(
    local: LocalRunner, tmp_path: Path
) -> None:
    effects = local.effects(call(time.sleep, 0.01), folder=str(tmp_path))
    _, told = unpack_told(content(effects.data["output-0"]))
    assert told["seconds"] >= 0.01
    assert unpack_told(content(local.effects(call(int)).data["output-0"]))[1] == {}


def test_a_pause_is_not_part_of_what_items_took(local: LocalRunner, tmp_path: Path) -> None:
    """Who sizes tasks by it would make them the smaller the longer items wait."""
    mark = str(tmp_path / "tried")

    def fail_once(number: int) -> int:
        from pathlib import Path as Place

        if number == 1 and not Place(mark).exists():
            Place(mark).touch()
            raise OSError("not yet")
        return number

    settings = Settings(retries=1, backoff=0.5, packed=True)
    payload = collection(Operation.MAP, fail_once, values(0, 1, 2), settings=settings)
    began = time.perf_counter()
    effects = local.effects(payload, folder=str(tmp_path))
    assert time.perf_counter() - began >= 0.5
    _, told = unpack_told(content(effects.data["output-0"]))
    assert 0 < told["seconds"] < 0.4


def test_staged_files_of_a_failed_task_are_removed(local: LocalRunner, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())

    def produce() -> Any:
        return b"x" * 200_000, threading.Lock()

    fail(local, call(produce), outputs=2)
    assert set(tmp_path.iterdir()) == before


def test_what_is_not_a_payload_is_refused(local: LocalRunner) -> None:
    with pytest.raises(TaskFailure, match="not written by armoflow") as caught:
        local.effects(b"this is a task of somebody else's, more than 28 bytes")
    assert caught.value.kind == "invalid"


def test_missing_inputs_are_lost(local: LocalRunner) -> None:
    payload = call(len)
    payload.arguments = referring(((Reference("slot", 0, 0),), {}))
    payload.inputs = ["gone"]
    record = fail(local, payload, {})
    assert record.kind == "lost"
    assert "gone" in record.message


def test_inputs_of_another_worker_are_named(local: LocalRunner) -> None:
    payload = call(len)
    payload.arguments = referring(((Reference("slot", 0, 0),), {}))
    payload.inputs = ["strange"]
    record = fail(local, payload, {"strange": b"AFLW and more than 28 bytes of it"})
    assert record.kind == "lost"
    assert "input strange cannot be read: stored data was not written by armoflow" in record.message
    assert "a partition with another worker" in record.message


# --- code ---------------------------------------------------------------------------------------


def test_stored_code_is_fetched_once(local: LocalRunner) -> None:
    def triple(value: int) -> int:
        return 3 * value

    inline = code(triple)
    assert inline.data is not None
    local.agent.stored["function"] = inline.data
    payload = call(triple, 2)
    payload.function = CodeReference(inline.digest, None, "function")
    assert [local.run(payload), local.run(payload)] == [[6], [6]]
    assert local.agent.calls == [("fetch", "function")]


def test_code_that_is_gone_fails_every_item(local: LocalRunner) -> None:
    payload = collection(MAP, operator.neg, values(1, 2))
    payload.function = CodeReference("digest", None, "nowhere")
    first, second = local.run(payload)
    assert first.kind == second.kind == "lost"
    assert "nowhere" in first.message


# --- retries ------------------------------------------------------------------------------------


def flaky(path: Path, failures: int) -> Callable[[Any], Any]:
    """Fails so many times for each value."""
    folder = str(path)

    def attempt(value: Any) -> Any:
        from pathlib import Path as Place

        count = Place(folder) / f"count-{value}"
        tried = int(count.read_text()) if count.exists() else 0
        count.write_text(str(tried + 1))
        if tried < failures:
            raise RuntimeError(f"attempt {tried + 1}")
        return tried + 1

    return attempt


def test_an_exception_is_retried(local: LocalRunner, tmp_path: Path) -> None:
    settings = Settings(retries=2, backoff=0.001)
    assert local.run(call(flaky(tmp_path, 2), "a", settings=settings)) == [3]
    record = fail(local, call(flaky(tmp_path, 9), "b", settings=settings))
    assert (record.attempts, record.message) == (3, "attempt 3")


def test_retries_are_counted_for_each_item(local: LocalRunner, tmp_path: Path) -> None:
    settings = Settings(retries=1, backoff=0.001, packed=True)
    payload = collection(MAP, flaky(tmp_path, 1), values(1, 2, 3), settings=settings)
    assert local.run(payload) == [2, 2, 2]


def test_an_attempt_sees_its_inputs_unharmed(local: LocalRunner, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    marker = str(tmp_path / "tried")

    def spoil(array: Any) -> float:
        from pathlib import Path as Place

        array += 1
        if not Place(marker).exists():
            Place(marker).touch()
            raise RuntimeError
        return float(array.sum())

    stored = tmp_path / "input"
    stored.write_bytes(envelope(numpy.zeros(100_000)))
    payload = call(spoil, settings=Settings(retries=1, backoff=0.0))
    payload.arguments = referring(((Reference("slot", 0, 0),), {}))
    payload.inputs = ["a"]
    assert local.run(payload, {"a": [str(stored), 0]}) == [100_000.0]
    assert numpy.array_equal(numpy.zeros(100_000), local_read(stored)), "the file was written to"


def local_read(path: Path) -> Any:
    from seats import read

    return read(path.read_bytes())[0]


def test_attempts_go_on_where_another_process_left_them(local: LocalRunner, tmp_path: Path) -> None:
    settings = Settings(retries=3, backoff=0.001)
    payload = call(flaky(tmp_path, 9), "x", settings=settings)
    record = fail(local, payload, progress=TaskProgress({0: (2, 0)}))
    assert record.attempts == 4
    assert (tmp_path / "count-x").read_text() == "2"


# --- map ----------------------------------------------------------------------------------------


def test_map_over_every_kind_of_piece(local: LocalRunner) -> None:
    def add(left: int, right: int, *, offset: int = 0) -> int:
        return left + right + offset

    payload = collection(
        MAP,
        add,
        [*values(1, 2), *items(3), InputSlots(0, 1, 3)],
        [*items(10, 20, 30), *values(40, 50)],
    )
    payload.inputs = ["a"]
    payload.arguments = dumps({"offset": 100})
    assert local.run(payload, {"a": envelope("unused", 4, 5)}) == [111, 122, 133, 144, 155]


def test_starmap(local: LocalRunner) -> None:
    payload = collection(MAP, pow, items((2, 3), (3, 2)), star=True)
    assert local.run(payload) == [8, 9]


@pytest.mark.parametrize("positions", [10, [10, 11, 12, 13], [0, 11, 12, 13]])
def test_one_bad_item_does_not_stop_its_siblings(
    local: LocalRunner, positions: int | list[int]
) -> None:
    def invert(value: int) -> float:
        return 1 / value

    payload = collection(MAP, invert, values(2, 0, 4, 0), positions=positions)
    first, second, third, fourth = local.run(payload)
    assert (first, third) == (0.5, 0.25)
    assert (second.name, fourth.name) == ("invert[11]", "invert[13]")
    assert second.type_name == "ZeroDivisionError"


def test_failed_and_absent_items_pass_through_a_map(local: LocalRunner) -> None:
    def negate(value: int) -> int:
        return -value

    payload = collection(MAP, negate, [InputSlots(0, 0, 4)])
    payload.inputs = ["a"]
    slots = local.slots(payload, {"a": envelope(1, None, error_slot(), 4)})
    kinds = [SlotKind.VALUE, SlotKind.ABSENT, SlotKind.SKIPPED, SlotKind.VALUE]
    assert [slot.kind for slot in slots] == kinds


def test_map_of_large_arrays(local: LocalRunner) -> None:
    numpy = pytest.importorskip("numpy")

    def scale(array: Any) -> Any:
        array *= 2  # its own to write to, though it came inside a message
        return array

    arrays = [numpy.full(20_000, number) for number in range(3)]
    results = local.run(collection(MAP, scale, items(*arrays)))
    for number, result in enumerate(results):
        assert numpy.array_equal(result, numpy.full(20_000, 2 * number))


def test_a_reused_buffer_does_not_spoil_earlier_items(local: LocalRunner) -> None:
    numpy = pytest.importorskip("numpy")

    def make() -> Callable[[int], Any]:
        buffer = numpy.zeros(20_000)

        def fill(value: int) -> Any:
            buffer[:] = value
            return buffer

        return fill

    results = local.run(collection(MAP, make(), values(1, 2, 3)))
    assert [float(result[0]) for result in results] == [1.0, 2.0, 3.0]


def test_items_that_refer_to_other_data(local: LocalRunner) -> None:
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    payload = collection(MAP, total, items([1], [2]))
    pieces = [referring([1, Reference("slot", 0, 0)]), referring([2, Reference("constant", 0)])]
    payload.columns = [[type(payload.columns[0][0])(pieces)]]  # type: ignore[call-arg,list-item]
    payload.inputs, payload.constants = ["a"], ["c"]
    local.agent.stored["c"] = envelope(1000)
    assert local.run(payload, {"a": envelope(100)}) == [101, 1002]


def test_map_with_several_outputs(local: LocalRunner) -> None:
    def split(value: int) -> tuple[int, int]:
        if value == 2:
            raise ValueError
        return value, -value

    first, second = local.run(collection(MAP, split, values(1, 2, 3)), outputs=2)
    assert (first[0], first[2]) == (1, 3)
    assert (second[0], second[2]) == (-1, -3)
    assert first[1].type_name == second[1].type_name == "ValueError"


def test_a_column_of_another_length_is_refused(local: LocalRunner) -> None:
    payload = collection(MAP, operator.neg, values(1, 2, 3))
    payload.count = 2
    records = local.run(payload)
    assert [record.kind for record in records] == ["lost", "lost"]


def test_a_full_spool_is_shipped(local: LocalRunner) -> None:
    def repeat(value: int) -> str:
        return "x" * value

    local.run(collection(MAP, repeat, values(*[60_000] * 10)))
    assert [base for _, base, _, _ in local.shipped] == [0, 4]


# --- filter -------------------------------------------------------------------------------------


def test_filter_keeps_places(local: LocalRunner) -> None:
    def odd(value: int, *, base: int = 0) -> bool:
        if value == 5:
            raise ValueError
        return bool((value - base) % 2)

    payload = collection(FILTER, odd, [*values(1, 2), *items(3, 5), InputSlots(0, 0, 3)])
    payload.inputs = ["a"]
    slots = local.slots(payload, {"a": envelope(7, None, error_slot())})
    value, error, skipped, absent = SlotKind
    assert [slot.kind for slot in slots] == [value, absent, value, error, value, absent, skipped]


# --- combine ------------------------------------------------------------------------------------


def combine(*columns: Any, final: bool = True, initial: Any = None) -> Payload:
    payload = collection(COMBINE, operator.add, *columns, settings=Settings(), final=final)
    if initial is not None:
        payload.arguments = dumps(initial)
    return payload


def test_combine_folds_from_the_left(local: LocalRunner) -> None:
    assert local.run(combine(values("a", "b", "c"), initial=">")) == [">abc"]
    assert local.run(combine(values(1, 2, 3))) == [6]
    assert local.run(combine(items([1]))) == [[1]]
    assert local.run(combine(values(), initial=5)) == [5]


def test_combine_of_nothing(local: LocalRunner) -> None:
    assert fail(local, combine(values())).type_name == "TypeError"
    assert local.run(combine(values(), final=False)) == [None]


def test_combine_leaves_out_absent_items(local: LocalRunner) -> None:
    payload = combine([InputSlots(0, 0, 3)])
    payload.inputs = ["a"]
    assert local.run(payload, {"a": envelope(1, None, 3)}) == [4]


def test_combine_of_a_failed_item_is_skipped(local: LocalRunner) -> None:
    payload = combine([InputSlots(0, 0, 2)])
    payload.inputs = ["a"]
    inputs = {"a": envelope(1, error_slot())}
    assert fail(local, payload, inputs).name == "root[7]"
    payload.settings = Settings(packed=True)
    assert local.slots(payload, inputs)[0].kind is SlotKind.SKIPPED


def test_a_step_of_a_combine_is_retried(local: LocalRunner, tmp_path: Path) -> None:
    marker = str(tmp_path / "tried")

    def join(left: str, right: str) -> str:
        from pathlib import Path as Place

        if right == "c" and not Place(marker).exists():
            Place(marker).touch()
            raise RuntimeError
        return left + right

    settings = Settings(retries=1, backoff=0.0)
    payload = collection(COMBINE, join, values("a", "b", "c", "d"), settings=settings, final=True)
    assert local.run(payload) == ["abcd"]


# --- gather -------------------------------------------------------------------------------------


def test_gather_copies_everything(local: LocalRunner) -> None:
    payload = collection(GATHER, None, [*values(1), *items([2]), InputSlots(0, 0, 3)])
    payload.inputs = ["a"]
    slots = local.slots(payload, {"a": envelope(None, error_slot(), b"x" * 70_000)})
    value, error, _, absent = SlotKind
    assert [slot.kind for slot in slots] == [value, value, absent, error, value]
    assert bytes(slots[4].buffers[0]) == b"x" * 70_000


def test_gathered_items_stand_on_their_own(local: LocalRunner) -> None:
    """References inside items would point nowhere in the result."""
    payload = collection(GATHER, None, items(0))
    piece = type(payload.columns[0][0])
    payload.columns = [[piece([referring([Reference("slot", 0, 0)])])]]  # type: ignore[call-arg,list-item]
    payload.inputs = ["a"]
    assert local.run(payload, {"a": envelope("here")}) == [["here"]]


# --- resumed ------------------------------------------------------------------------------------


def test_finished_items_are_not_run_again(local: LocalRunner) -> None:
    def negate(value: int) -> int:
        if value != 2:
            raise AssertionError("this item was finished")
        return -value

    progress = TaskProgress(finished={0: [dumps("a").data], 2: [None]})  # type: ignore[dict-item]
    payload = collection(MAP, negate, values(1, 2, 3))
    assert local.run(payload, progress=progress) == ["a", -2, None]


def test_a_task_whose_items_are_all_finished_loads_no_code(local: LocalRunner) -> None:
    payload = collection(MAP, operator.neg, values(1, 2))
    payload.function = CodeReference("digest", None, "nowhere")
    progress = TaskProgress(finished={0: [dumps(1).data], 1: [dumps(2).data]})  # type: ignore[dict-item]
    assert local.run(payload, progress=progress) == [1, 2]
    assert local.agent.calls == []


def test_the_mark_follows_the_items(local: LocalRunner) -> None:
    def look(value: int) -> int:
        return value

    payload = collection(MAP, look, values(1, 2, 3))
    local.run(payload)
    seen = local.mark.entries()
    assert [entry.item for entry in seen] == [0, 1, 2]
    assert [pickle.loads(entry.cells[0]) for entry in seen] == [1, 2, 3]
    assert local.mark.position().item == 3


@pytest.mark.parametrize("make", [lambda: call(len, "four"), lambda: gather_of(3)])
def test_nothing_is_kept_of_what_is_quickly_made_again(
    local: LocalRunner, make: Callable[[], Payload]
) -> None:
    """While outputs are stored all items have ended: what is not kept must not seem to be."""
    local.run(collection(MAP, abs, values(-1, -2, -3)))  # its entries stay in the memory
    local.run(make())
    assert local.mark.entries() == []


def gather_of(count: int) -> Payload:
    return collection(GATHER, None, values(*range(count)))


def steps(first: Payload, *functions: Callable[[Any], Any]) -> Payload:
    """A call with further steps."""
    arguments = referring(((Reference("previous"),), {}))
    first.stages = [Stage(f.__name__, code(f), arguments) for f in functions]
    return first


def test_steps_hand_on_their_values(local: LocalRunner) -> None:
    assert local.run(steps(call(len, "four"), str, list)) == [["4"]]
    # The last step's value is about to be stored; those of the others are kept.
    kept = [(entry.item, pickle.loads(entry.cells[0])) for entry in local.mark.entries()]
    assert kept == [(0, 4), (1, "4")]


def test_loading_a_step_is_no_attempt_of_the_one_before(local: LocalRunner) -> None:
    seen.clear()
    probe = Probe()
    watched[:] = [local]

    def second(value: int) -> int:
        assert probe is not None
        return value

    payload = steps(call(len, "four", settings=Settings(timeout=60.0)), second)
    assert local.run(payload) == [4]
    assert [(position.item, position.deadline) for position in seen] == [(1, 0)]


watched: list[LocalRunner] = []
seen: list[Any] = []


class Probe:
    """Notes, when it is loaded, what the mark says."""

    def __reduce__(self) -> Any:
        return look_at_the_mark, ()


def look_at_the_mark() -> Probe:
    seen.append(watched[0].mark.position())
    return Probe()


def test_encoded_payloads_are_read_from_files(local: LocalRunner, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(encode(call(len, "four")))
    task_data: Any = [str(path), path.stat().st_size]
    local.serial += 1
    from armoflow.worker.runner import EngineTask

    local.recorder.begin(local.serial)
    effects = local.runner.run(EngineTask(local.serial, "t", "s", ["o"], task_data, {}))
    assert b"".join(pack_envelope([bytes(dumps(4).data)])) == content(effects.data["o"])


def test_inline_limit(local: LocalRunner) -> None:
    def produce(length: int) -> str:
        return "x" * length

    small = local.effects(call(produce, config.INLINE_DATA_LIMIT - 500))
    large = local.effects(call(produce, config.INLINE_DATA_LIMIT))
    assert isinstance(small.data["output-0"], bytes)
    assert isinstance(large.data["output-0"], StagedFile)


class Changing:
    def __index__(self) -> int:
        return 1


PLAIN = {
    "nothing": lambda: call(lambda: 1),
    "scalars": lambda: call(lambda *args: 1, 1, 2.5, "text", b"bytes", None, True),
}

GIVEN = {
    "an object": lambda: call(lambda one: 1, Changing()),
    "one in a list": lambda: call(lambda some: 1, [Changing()]),
    "one by name": lambda: call(lambda one: 1, one=Changing()),
    "to an item": lambda: collection(MAP, lambda one: 1, items(Changing())),
    "to a step": lambda: steps(call(Changing), lambda one: 1),
    "what cannot be read": lambda: call(lambda one: 1, Unreadable()),
}


class Unreadable:
    def __reduce__(self) -> Any:
        return int, ("no number",)


@pytest.mark.parametrize("case", [*PLAIN, *GIVEN])
def test_who_is_given_scalars_is_given_nothing_that_could_change_the_process(
    local: LocalRunner, case: str
) -> None:
    payload = {**PLAIN, **GIVEN}[case]()
    with suppress(TaskFailure):
        local.effects(payload)
    assert local.runner.given == (case in GIVEN)
    local.effects(call(lambda: 1))
    assert not local.runner.given  # each task anew
