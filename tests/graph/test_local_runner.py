"""The debug mode: values, errors, retries, expansion, laziness."""

from __future__ import annotations

import bdb
import itertools
import operator
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow.client.local import LocalOutcome, LocalRunner
from armoflow.errors import ArgumentCycleError, GraphError, RemoteTraceback
from armoflow.graph.collection import items, zip_items
from armoflow.graph.task import task
from armoflow.options import TaskOptions


@task
def double(number: int) -> int:
    return 2 * number


@task
def add(a: Any, b: Any) -> Any:
    return a + b


@task
def odd_only(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


@task(outputs=2)
def split(number: int) -> tuple[int, int]:
    return divmod(number, 10)


def run(value: Any) -> Any:
    outcome = LocalRunner().run(value)
    if isinstance(outcome, LocalOutcome):
        return outcome.result()
    return [one.result() for one in outcome]


def failure(value: Any) -> BaseException:
    exception = LocalRunner().run(value).exception
    assert exception is not None
    return exception


def cause(exception: BaseException | None) -> RemoteTraceback:
    assert exception is not None
    assert isinstance(exception.__cause__, RemoteTraceback)
    return exception.__cause__


class Calls:
    """A task that notes what it was called with."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.task = task(self._note, name="note")

    def _note(self, value: Any) -> Any:
        self.seen.append(value)
        return value


# --- values ---------------------------------------------------------------------------------------


def test_calls() -> None:
    assert run(add(double(1), b=double(2))) == 6
    assert run(task(sum)([double(1), double(2)])) == 6
    tens, ones = split(42)
    assert run(add(tens, ones)) == 6


def test_shared_nodes_run_once() -> None:
    calls = Calls()
    shared = calls.task(1)
    runner = LocalRunner()
    outcomes = runner.run_all([add(shared, shared), shared, double(shared)])
    assert [outcome.value for outcome in outcomes] == [2, 1, 2]  # type: ignore[union-attr]
    assert calls.seen == [1]
    runner.run(shared)
    assert calls.seen == [1, 1]  # each compute plans afresh


def test_collections() -> None:
    many = double.map(range(5))
    assert run(many) == [0, 2, 4, 6, 8]
    assert run(many[1:4]) == [2, 4, 6]
    assert run(many[::-2]) == [8, 4, 0]
    assert run(many[3]) == 6
    assert run(add(many[0], [many[4]][0])) == 8
    assert run(task(list)(many)) == [0, 2, 4, 6, 8]
    assert run(many.gather()) == [0, 2, 4, 6, 8]
    assert run(zip_items(many, "ab")) == [(0, "a"), (2, "b")]
    assert run(add.starmap(zip_items(many, many))) == [0, 4, 8, 12, 16]
    assert run(add.map(many, [1, 2])) == [1, 4]
    assert run(many.filter(lambda number, least: number >= least, least=double(2))) == [4, 6, 8]
    assert run(many.fold(operator.sub)) == -20
    assert run(many.fold(operator.sub, initial=double(50))) == 80
    assert run(double.map([])) == []
    assert run(task(len)(double.map([]))) == 0


def test_several_outputs_of_a_map() -> None:
    tens, ones = split.map([12, 34])
    assert run(tens) == [1, 3]
    assert run(add.map(tens, ones)) == [3, 7]
    assert run(ones[1]) == 4


def test_filters_keep_order_and_positions() -> None:
    some = items(range(10)).filter(lambda number: number % 3 == 1)
    assert run(double.map(some)) == [2, 8, 14]
    assert run(some.reduce(operator.add)) == 12
    assert run(some.gather()) == [1, 4, 7]
    assert run(add.map(some.gather(), range(9))) == [1, 5, 9]
    failed = LocalRunner().run(some.map(odd_only))
    assert [outcome.value for outcome in failed] == [1, None, 7]
    assert cause(failed[1].exception).node == "odd_only[4]"


@pytest.mark.parametrize("fan_in", [2, 3, 5])
@pytest.mark.parametrize("count", range(1, 12))
def test_reduce_keeps_the_order(count: int, fan_in: int) -> None:
    letters = "abcdefghijkl"[:count]
    assert run(items(letters).reduce(operator.add, fan_in=fan_in)) == letters
    assert run(items(letters).reduce(operator.add, fan_in=fan_in, initial="_")) == "_" + letters


def test_reduce_is_a_tree() -> None:
    pair = task(lambda a, b: (a, b), name="pair")
    assert run(items("abcd").reduce(pair)) == (("a", "b"), ("c", "d"))
    assert run(items("abcd").fold(pair)) == ((("a", "b"), "c"), "d")


def test_empty_reductions() -> None:
    for empty in (items([]), items([1]).filter(lambda number: False)):
        error = failure(empty.reduce(add))
        assert isinstance(error, TypeError)
        assert cause(error).node == "add"
        assert isinstance(failure(empty.fold(add)), TypeError)
        assert run(empty.reduce(add, initial=double(4))) == 8
        assert run(empty.fold(add, initial=5)) == 5
        assert run(empty.gather()) == []


def test_lazy_items_and_delayed_iterables() -> None:
    one = double(1)
    assert run(double.map([one, 3, [one][0]])) == [4, 6, 4]
    assert run(double.map(value for value in [one, 3])) == [4, 6]
    assert run(double.map(task(range)(3))) == [0, 2, 4]
    error = LocalRunner().run(double.map(double(3)))[0].exception
    assert isinstance(error, TypeError)


def test_items_may_use_what_was_read_before() -> None:
    calls = Calls()
    many = calls.task.map(range(3))
    total = many.reduce(add)
    assert run(add.starmap((total, item) for item in many)) == [3, 4, 5]
    assert calls.seen == [0, 1, 2]


def test_collections_read_twice_run_once() -> None:
    calls = Calls()
    many = calls.task.map(iter(range(3)))
    assert run(task(lambda *parts: parts)(many, many.reduce(add), many.gather())) == (
        ([0, 1, 2], 3, [0, 1, 2])
    )
    assert calls.seen == [0, 1, 2]


def test_an_iterator_can_be_computed_once() -> None:
    many = double.map(iter([1]))
    assert run(many) == [2]
    with pytest.raises(GraphError, match=r"list\(\.\.\.\)"):
        run(many)


def test_an_iterator_that_needs_itself() -> None:
    def selfish() -> Iterator[Any]:
        yield many.gather()

    many = double.map(selfish())
    with pytest.raises(GraphError, match="depends on the iterator"):
        run(many)


# --- laziness -------------------------------------------------------------------------------------


def test_endless_collections() -> None:
    calls = Calls()
    outcomes = LocalRunner().iterate(calls.task.map(itertools.count()).map(double))
    assert [next(outcomes).value for _ in range(3)] == [0, 2, 4]
    assert calls.seen == [0, 1, 2]


def test_a_reduction_is_depth_first_and_forgets() -> None:
    class Value:
        def __init__(self, number: int) -> None:
            self.number = number

    alive: weakref.WeakSet[Value] = weakref.WeakSet()
    most = 0

    @task
    def make(number: int) -> Value:
        nonlocal most
        value = Value(number)
        alive.add(value)
        most = max(most, len(alive))
        return value

    @task
    def combine(a: Value, b: Value) -> Value:
        return Value(a.number + b.number)

    assert run(make.map(range(500)).reduce(combine)).number == sum(range(500))
    assert most < 10


def test_deep_graphs() -> None:
    link = double(0)
    for _ in range(10_000):
        link = add(link, 1)
    assert run(link) == 10_000
    many = items(range(2))
    for _ in range(2_000):
        many = many.map(double)
    assert run(many) == [0, 2**2_000]


# --- expansion ------------------------------------------------------------------------------------


@task
def fibonacci(number: int) -> Any:
    return number if number < 2 else add(fibonacci(number - 1), fibonacci(number - 2))


@task
def down(number: int) -> Any:
    return "end" if number == 0 else down(number - 1)


def test_expansion() -> None:
    assert run(fibonacci(12)) == 144
    assert run(down(3_000)) == "end"
    assert run(fibonacci.map(range(8)).reduce(add)) == 33

    @task
    def container() -> Any:
        return {"one": [double(1)], "many": double.map(range(3)), "plain": 5}

    assert run(container()) == {"one": [2], "many": [0, 2, 4], "plain": 5}

    @task(outputs=2)
    def outputs(number: int) -> Any:
        return split(number) if number > 10 else (double(number), number)

    assert run(task(list)([*outputs(42), *outputs(5)])) == [4, 2, 10, 5]
    assert run(items(range(4)).filter(lambda number: double(number % 2))) == [1, 3]


def test_an_expansion_fails() -> None:
    @task
    def outer() -> Any:
        return double(odd_only(2))

    error = failure(double(outer()))
    assert cause(error).path == ["odd_only", "double", "outer", "double"]
    assert cause(error).skipped == 2


def test_data_that_contains_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert run(task(lambda: loop)()) is loop
    loop.append(double(1))
    assert isinstance(failure(task(lambda: loop)()), ArgumentCycleError)


# --- references of a client ---------------------------------------------------------------------


def test_other_references_are_replaced_everywhere() -> None:
    class Held:
        def __init__(self, value: int) -> None:
            self.value = value

    def resolve(held: Held) -> int:
        if held.value < 0:
            raise ValueError("not mine")
        return held.value

    runner = LocalRunner(kinds=[Held], resolve=resolve)
    one = Held(1)
    assert runner.run(add(one, b=one)).value == 2
    assert runner.run(task(sum)([one, double(one)])).value == 3
    assert [end.value for end in runner.run(add.map([one, 2], b=one))] == [2, 3]
    assert runner.run(items([2]).reduce(add, initial=one)).value == 3
    assert str(runner.run(double(Held(-1))).exception) == "not mine"


# --- errors ---------------------------------------------------------------------------------------


def test_the_original_exception() -> None:
    error = failure(odd_only(2))
    assert isinstance(error, ValueError)
    remote = cause(error)
    assert remote.node == "odd_only"
    assert remote.path == ["odd_only"]
    assert (remote.skipped, remote.attempts) == (0, 1)
    assert 'raise ValueError(f"{number} is even")' in remote.traceback
    assert "local_scope" not in remote.traceback and "local_calls" not in remote.traceback


def test_one_bad_item_does_not_stop_its_siblings() -> None:
    outcomes = LocalRunner().run(double.map(odd_only.map(range(1, 4))))
    assert [outcome.value for outcome in outcomes] == [2, None, 6]
    remote = cause(outcomes[1].exception)
    assert remote.node == "odd_only[1]"
    assert remote.path == ["odd_only[1]", "double[1]"]
    assert remote.skipped == 1


def test_skipped_items_are_counted() -> None:
    bad = odd_only(2)
    outcomes = LocalRunner().run_all([double(double(bad)), add.map([1, 2], b=bad), bad])
    assert {cause(one.exception).skipped for one in [outcomes[0], outcomes[2]]} == {4}  # type: ignore
    assert cause(outcomes[0].exception).path == ["odd_only", "double", "double"]  # type: ignore
    assert cause(outcomes[1][1].exception).path == ["odd_only", "add[1]"]  # type: ignore
    assert cause(outcomes[2].exception).path == ["odd_only"]  # type: ignore


def test_reductions_of_failures() -> None:
    calls = Calls()
    many = calls.task.map(range(1, 6)).map(odd_only)
    for total in (many.reduce(add), many.fold(add), many.gather()):
        calls.seen.clear()
        assert str(failure(total)) == "2 is even"
        assert calls.seen == [1, 2, 3, 4, 5]
    assert cause(failure(many.reduce(add))).path == ["odd_only[1]", "add"]
    assert cause(failure(double(many.gather()))).path == ["odd_only[1]", "gather", "double"]
    mixed = failure(items([1, "a"]).reduce(add))
    assert cause(mixed).path == ["add"]


def test_an_iterator_that_raises_fails_its_collection() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    outcomes = LocalRunner().run(double.map(broken()))
    assert outcomes[0].value == 2
    assert isinstance(outcomes[1].exception, OSError)
    assert cause(outcomes[1].exception).path == ["broken", "double[1]"]
    assert isinstance(failure(double.map(broken()).reduce(add)), OSError)


def test_wrong_outputs() -> None:
    @task(outputs=2)
    def three() -> Any:
        return 1, 2, 3

    assert "outputs=2" in str(failure(three()[0]))


def test_arguments_that_cannot_be_rebuilt() -> None:
    assert isinstance(failure(task(list)({task(lambda: [])()})), TypeError)


def test_user_exceptions_that_cannot_be_copied() -> None:
    class Odd(Exception):
        def __init__(self, code: int, *, hint: str) -> None:
            super().__init__(code)
            self.hint = hint

    @task
    def fails() -> None:
        raise Odd(1, hint="x")

    bad = fails()
    for outcome in LocalRunner().run_all([bad, bad]):
        assert isinstance(outcome.exception, Odd)  # type: ignore[union-attr]


def test_leaving_the_debugger_stops_everything() -> None:
    @task(retries=5)
    def quit_debugger() -> None:
        raise bdb.BdbQuit

    with pytest.raises(bdb.BdbQuit):
        run(quit_debugger())


def test_compute_inside_a_task() -> None:
    error = failure(task(lambda: double(1).compute())())
    assert isinstance(error, GraphError)
    assert "return the Delayed" in str(error)


# --- retries --------------------------------------------------------------------------------------


def test_retries_with_backoff() -> None:
    waits: list[float] = []
    left = iter([ValueError("first"), ValueError("second")])

    @task(backoff=0.5)
    def flaky() -> str:
        error = next(left, None)
        if error is not None:
            raise error
        return "done"

    runner = LocalRunner(TaskOptions(retries=2), sleep=waits.append)
    assert runner.run(flaky()).value == "done"
    assert waits == [0.5, 1.0]
    error = runner.run(odd_only.with_options(retries=1)(2)).exception
    assert cause(error).attempts == 2
    assert len(waits) == 3


def test_retries_are_per_item() -> None:
    tries: list[int] = []

    @task(retries=1, backoff=0)
    def second_time(number: int) -> int:
        tries.append(number)
        if tries.count(number) < 2:
            raise ValueError
        return number

    assert run(second_time.map(range(3))) == [0, 1, 2]
    assert tries == [0, 0, 1, 1, 2, 2]


def test_timeouts_are_ignored_with_one_warning() -> None:
    timed = double.with_options(timeout=0.1)
    runner = LocalRunner()
    with pytest.warns(UserWarning, match="timeouts are ignored") as warned:
        runner.run(timed(1))
        runner.run(timed.map(range(3)))
    assert [Path(warning.filename) for warning in warned] == [Path(__file__)]  # where it is asked


def test_a_conditional_call_is_one_name_of_the_path() -> None:
    @task
    def boom() -> None:
        raise ValueError("boom")

    for condition in (True, task(bool)(1)):
        error = LocalRunner().run(boom.when(condition)()).exception
        assert error is not None
        assert error.__cause__.path == ["boom"]  # type: ignore[union-attr]
