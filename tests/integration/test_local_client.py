"""The debug mode gives what a real engine gives: the same values, the same errors."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import itertools
import pdb  # noqa: T100 - its use is what is tested
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, compute, items, task, zip_items
from armoflow.errors import (
    ClientClosedError,
    ForeignReferenceError,
    GraphError,
    RemoteTaskError,
    RemoteTraceback,
)
from tests.integration.engines import Up


@pytest.fixture(params=["local", "embedded"])
def anywhere(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A client of either kind."""
    if request.param == "local":
        with Client(local=True) as client:
            yield client
    else:
        yield request.getfixturevalue("private")


@pytest.fixture(scope="module")
def private() -> Iterator[Client]:
    with Client(workers=2) as client:
        yield client


@task
def inc(number: int, by: int = 1) -> int:
    return number + by


@task
def add(first: Any, second: Any) -> Any:
    return first + second


@task
def total(numbers: Any) -> Any:
    return sum(numbers)


@task
def same(value: Any) -> Any:
    return value


@task
def is_odd(number: int) -> bool:
    return number % 2 == 1


@task(outputs=2)
def both(number: int) -> tuple[int, int]:
    return number, -number


@task
def upto(number: int) -> list[int]:
    return list(range(number))


@task
def fib(number: int) -> Any:
    return number if number < 2 else add(fib(number - 1), fib(number - 2))


@task
def parse(text: str) -> float:
    return float(text)


@task
def boom(message: str = "boom") -> Any:
    raise ValueError(message)


@task
def report(number: int) -> Any:
    return {"double": add(number, number), "plain": number}


@task
def leave() -> None:
    sys.exit(3)


@task
def stop() -> None:
    raise StopIteration(4)


@task(outputs=2)
def three() -> Any:
    return 1, 2, 3


@task(outputs=2)
def letters() -> Any:
    return "ab"


@task
def nested(text: str) -> Any:
    return inc(parse(text))


@task
def impatient() -> Any:
    return inc(1).compute()


class Unfit(Exception):
    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(code)
        self.why = why


@task
def unfit() -> None:
    raise Unfit(1, why="small")


TEXTS = ["1.5", "n/a", "2.5"]

VALUES: dict[str, Callable[[], Any]] = {
    "call": lambda: inc(inc(1), by=inc(2)),
    "containers": lambda: same([inc(1), (inc(2), {"a": {3: inc(4)}})]),
    "map": lambda: inc.map(range(7)),
    "map, fixed": lambda: inc.map(range(3), by=inc(9)),
    "two columns": lambda: add.map(range(5), inc.map(range(3))),
    "filter": lambda: inc.map(range(9)).filter(is_odd).map(inc),
    "reduce": lambda: inc.map(range(9)).reduce(add, fan_in=3, initial=100),
    "reduce of a filter": lambda: items(range(9)).filter(is_odd).reduce(add),
    "fold": lambda: items("abc").fold(add, initial=">"),
    "gather": lambda: inc.map(range(3)).filter(is_odd).gather(),
    "argument": lambda: total(inc.map(range(3))),
    "item": lambda: inc.map(range(3))[-1],
    "slice": lambda: inc.map(range(9))[7:1:-2],
    "zip": lambda: zip_items(inc.map(range(3)), "abc"),
    "starmap": lambda: zip_items(inc.map(range(3)), range(3)).starmap(add),
    "outputs": lambda: add(*both(3)),
    "many outputs": lambda: both.map(range(3))[1],
    "dynamic": lambda: inc.map(upto(4)).filter(is_odd).reduce(add),
    "recursion": lambda: fib(7),
    "recursions": lambda: fib.map(range(6)),
    "a container returned": lambda: report(4),
    "empty": lambda: inc.map([]),
    "empty with initial": lambda: items([]).reduce(add, initial=3),
    "lazy items": lambda: items([inc(1), 2]),
    "an item that is lazy": lambda: items([inc(1), 2])[0],
    "a lambda": lambda: inc.map(range(3)).map(lambda number: -number),
    "an iterator": lambda: inc.map(iter(range(4))),
}


@pytest.mark.parametrize("name", VALUES)
def test_the_same_values(private: Client, name: str) -> None:
    with Client(local=True) as local:
        assert local.compute(VALUES[name]()) == private.compute(VALUES[name]())


FAILURES: dict[str, Callable[[], Any]] = {
    "call": boom,
    "chain": lambda: inc(inc(inc(boom()))),
    "diamond": lambda: add(inc(1), inc(boom())),
    "map": lambda: parse.map(TEXTS),
    "map of map": lambda: parse.map(TEXTS).map(inc),
    "an item": lambda: parse.map(TEXTS).map(inc)[1],
    "argument": lambda: total(parse.map(TEXTS).map(inc)),
    "reduce": lambda: parse.map(TEXTS).reduce(add),
    "after a reduce": lambda: same(parse.map(TEXTS).reduce(add)),
    "reduce raises": lambda: same(items([1, "a", 2]).reduce(add)),
    "fold": lambda: parse.map(TEXTS).fold(add),
    "gather": lambda: parse.map(TEXTS).gather(),
    "two columns": lambda: add.map(range(3), parse.map(TEXTS)),
    "starmap": lambda: zip_items(range(3), parse.map(TEXTS)).starmap(add),
    "fixed": lambda: total(add.map(range(4), second=boom())),
    "filter raises": lambda: items([1, "a"]).filter(is_odd),
    "items that are calls": lambda: inc.map([inc(1), boom(), 3]),
    "empty reduce": lambda: items([]).reduce(add),
    "below": lambda: nested("n/a"),
    "below, and on": lambda: same(nested("n/a")),
    "below an item": lambda: nested.map(TEXTS)[1],
    "too many outputs": lambda: three()[0],
    "letters are no outputs": lambda: letters()[1],
    "an own exception": unfit,
    "sys.exit": leave,
    "StopIteration": stop,
    "compute inside": impatient,
}


def told(error: BaseException | None) -> Any:
    """What a user is told by an error."""
    assert error is not None
    cause = error.__cause__
    assert isinstance(cause, RemoteTraceback)
    last = cause.traceback.strip().splitlines()[-1] if cause.traceback else ""
    return {
        "type": type(error),
        "text": str(error),
        "node": cause.node,
        "path": cause.path,
        "skipped": cause.skipped,
        "attempts": cause.attempts,
        "last line": last,
    }


@pytest.mark.parametrize("name", FAILURES)
def test_the_same_failures(private: Client, name: str) -> None:
    with Client(local=True) as local:
        for client in (local, private):
            with pytest.raises(Exception) as raised:
                client.compute(FAILURES[name]())
            assert type(raised.value.__cause__) is RemoteTraceback
        here = local.submit(FAILURES[name]())
        there = private.submit(FAILURES[name]())
        mine, engines = told(here.exception()), told(there.exception())
        if name.startswith("below"):
            # An engine does not say which children failed because of which.
            for one in (mine, engines):
                one["path"] = [one["path"][0], one["path"][-1]]
                del one["skipped"]
        assert mine == engines


def test_the_same_siblings(anywhere: Client) -> None:
    first, second, third = anywhere.gather(anywhere.map(parse, TEXTS), return_exceptions=True)
    assert (first, third) == (1.5, 2.5)
    assert told(second)["path"] == ["parse[1]"]
    whole = anywhere.submit(parse.map(TEXTS).map(inc))
    values = anywhere.gather(whole, return_exceptions=True)
    assert (values[0], values[2]) == (2.5, 3.5)
    assert told(values[1])["path"] == ["parse[1]", "inc[1]"]
    with pytest.raises(ValueError, match="n/a"):
        whole.result()


def test_references_in_arguments(anywhere: Client) -> None:
    stored, future = anywhere.put([1, 2]), anywhere.submit(inc(4))
    many = anywhere.submit(inc.map(range(3)))
    assert anywhere.compute(total(stored), inc(future), total(many)) == (3, 6, 6)
    assert anywhere.compute(same([{"a": (stored, future)}])) == [{"a": ([1, 2], 5)}]
    assert anywhere.compute(add.map([future, 1], second=future)) == [10, 6]
    assert anywhere.compute(items([future, 2]).reduce(add, initial=future)) == 12
    assert anywhere.compute(items([future, inc(1)])) == [5, 2]


def test_failed_futures_in_arguments(anywhere: Client) -> None:
    bad = anywhere.submit(inc(boom()))
    error = told(anywhere.submit(same(add(1, bad))).exception())
    assert (error["type"], error["text"], error["node"]) == (ValueError, "boom", "boom")
    assert error["path"] == ["boom", "inc", "add", "same"]
    values = anywhere.gather(anywhere.map(inc, [bad, 1]), return_exceptions=True)
    assert told(values[0])["path"] == ["boom", "inc", "inc[0]"]
    assert values[1] == 2


def test_references_of_another_client(anywhere: Client) -> None:
    with Client(local=True) as other:
        for foreign in (other.put(1), other.submit(inc(1))):
            for value in (inc(foreign), inc.map([1, foreign]), same([{"a": foreign}])):
                with pytest.raises(ForeignReferenceError, match="another client"):
                    anywhere.submit(value)
                with pytest.raises(ForeignReferenceError, match="another client"):
                    anywhere.compute(value)


def test_retries(anywhere: Client, tmp_path: Path) -> None:
    log = tmp_path / "log"

    @task(retries=2, backoff=0.0)
    def flaky(success: int) -> int:
        with log.open("a") as file:
            file.write("x")
        if len(log.read_text()) < success:
            raise ConnectionError("not yet")
        return success

    assert anywhere.compute(flaky(3)) == 3
    log.unlink()
    error = told(anywhere.submit(flaky(10)).exception())
    assert (error["type"], error["attempts"]) == (ConnectionError, 3)
    assert len(log.read_text()) == 3


def test_an_iterator_that_raises(anywhere: Client) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    for use in (lambda lazy: lazy, lambda lazy: lazy.reduce(add), total):
        with pytest.raises(OSError, match="the disk is gone"):
            anywhere.compute(use(inc.map(numbers())))
    seen: list[int] = []
    completed = anywhere.as_completed(inc.map(numbers()))
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(future.result() for future in completed)
    assert seen == [2]


def test_iterators_are_read_once(anywhere: Client) -> None:
    lazy = inc.map(iter(range(3)))
    assert anywhere.compute(lazy) == [1, 2, 3]
    with pytest.raises(GraphError, match=r"list\("):
        anywhere.compute(lazy)


def test_endless_collections(anywhere: Client) -> None:
    completed = anywhere.as_completed(inc.map(itertools.count()))
    assert len([future.result() for future in itertools.islice(completed, 50)]) == 50


def test_iterating_over_collections_known_only_when_they_run(anywhere: Client) -> None:
    completed = anywhere.as_completed(inc.map(upto(4)))
    assert sorted(future.result() for future in completed) == [1, 2, 3, 4]
    (failed,) = anywhere.as_completed(inc.map(boom()))
    assert str(failed.exception()) == "boom"


def test_the_current_client(anywhere: Client) -> None:
    if anywhere.extensions:
        return  # the other fixture's client was entered elsewhere
    assert inc(1).compute() == 2
    assert compute(inc(1), [inc(2)]) == (2, [3])


# --- only here ------------------------------------------------------------------------------------


@pytest.fixture
def local() -> Iterator[Client]:
    with Client(local=True) as client:
        yield client


def test_everything_runs_in_the_callers_thread(local: Client) -> None:
    threads: list[Any] = []

    def note(value: Any) -> Any:
        threads.append(threading.current_thread())
        return value

    noting = task(note)
    before = threading.active_count()
    local.compute(noting(noting(1)), noting.map(range(3)).reduce(lambda a, b: note(a + b)))
    local.submit(noting(1))
    local.gather(local.map(noting, [1, 2]))
    list(local.as_completed(noting.map([1, 2])))
    assert set(threads) == {threading.current_thread()}
    assert threading.active_count() == before


def test_arguments_and_values_are_not_copied(local: Client) -> None:
    lock = threading.Lock()
    assert local.compute(same(same(lock))) is lock
    assert local.compute(same(local.put(lock))) is lock


def test_a_debugger_can_stop_in_a_task(local: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []

    class Debugger(pdb.Pdb):
        def interaction(self, frame: Any, traceback: Any) -> None:
            if frame.f_code.co_name == "buggy":  # else of a garbage collection, just then
                stopped.append(f"buggy {frame.f_locals['number']}")
                self.set_continue()

    @task
    def buggy(number: int) -> int:
        Debugger().set_trace(sys._getframe())
        return number + 1

    try:
        assert local.compute(buggy(buggy(1))) == 3
    finally:
        sys.settrace(None)
    assert stopped == ["buggy 1", "buggy 2"]


def test_leaving_the_debugger_ends_the_run(local: Client) -> None:
    import bdb

    @task(retries=5)
    def left() -> None:
        raise bdb.BdbQuit

    with pytest.raises(bdb.BdbQuit):
        local.compute(inc(left()))


def test_ctrl_c_ends_the_run(local: Client) -> None:
    ran: list[int] = []

    def interrupted(number: int) -> int:
        ran.append(number)
        if number == 2:
            raise KeyboardInterrupt
        return number

    with pytest.raises(KeyboardInterrupt):
        local.compute(task(interrupted).map(range(10)))
    assert ran == [0, 1, 2]
    assert local.compute(inc(1)) == 2


def test_post_mortem_sees_the_frames_of_the_task(local: Client) -> None:
    def fails(number: int) -> None:
        secret = number * 2
        raise ValueError(secret)

    with pytest.raises(ValueError, match="42") as raised:
        local.compute(task(fails)(21))
    names = [entry.frame.f_locals.get("secret") for entry in _frames(raised.value)]
    assert 42 in names


def _frames(error: BaseException) -> list[Any]:
    import traceback

    walked = []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        walked.append(type("Entry", (), {"frame": frame}))
    return walked


def test_futures_come_back_done(local: Client) -> None:
    future = local.submit(inc(1))
    assert (future.done(), future.running(), future.cancelled()) == (True, False, False)
    assert not future.cancel()
    called: list[Any] = []
    future.add_done_callback(called.append)
    assert called == [future]
    assert repr(future) == "<Future inc done>"
    assert concurrent.futures.wait([future]).done == {future}
    failed = local.submit(boom())
    assert failed.done()
    assert isinstance(failed.exception(), ValueError)
    assert list(local.as_completed([future, failed], timeout=1)) in (
        [future, failed],
        [failed, future],
    )

    async def main() -> Any:
        return await local.submit(inc.map(range(3)))

    assert asyncio.run(main()) == [1, 2, 3]


def test_timeouts_are_ignored_with_one_warning(local: Client) -> None:
    @task(timeout=1e-9)
    def slow(number: int) -> int:
        return number + sum(range(1000)) * 0

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert local.compute(slow(1), slow.map(range(3))) == (1, [0, 1, 2])
        assert local.submit(slow(2)).result() == 2
        assert [future.result() for future in local.as_completed(slow.map([3]))] == [3]
    assert ["timeouts are ignored" in str(warning.message) for warning in caught] == [True]


def test_a_closed_client_runs_nothing() -> None:
    with Client(local=True) as client:
        pass
    with pytest.raises(ClientClosedError):
        client.compute(inc(1))


def test_exits_are_errors_of_the_task(local: Client) -> None:
    with pytest.raises(RemoteTaskError, match="SystemExit: 3"):
        local.compute(leave())
    assert local.gather(local.map(lambda n: n if n else sys.exit(1), [1, 2])) == [1, 2]


def test_many_threads(local: Client) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        totals = list(
            threads.map(
                lambda n: local.compute(inc.map(range(n)).reduce(add, initial=0)), range(20)
            )
        )
    assert totals == [n * (n + 1) // 2 for n in range(20)]


def test_the_graph_is_not_started_by_an_engine(local: Client, engine: Up) -> None:
    def begun() -> int:
        """Whoever runs something begins a session; clients of other tests may be leaving yet."""
        return sum("CreateSession" in method for method in engine.called())

    before = begun()
    assert local.compute(inc(1)) == 2
    assert begun() == before
    with Client(engine.endpoint) as remote:
        assert remote.compute(inc(1)) == 2
    assert begun() > before


def test_a_lazy_value_that_no_graph_finds_is_refused_as_on_an_engine() -> None:
    hidden = collections.deque([task(abs)(-1)])
    with Client(local=True) as client:
        for call in (task(len)(hidden), task(len).map([hidden])):
            with pytest.raises(GraphError, match=r"is inside an object that armoflow does not"):
                client.compute(call)
