"""What users see when something goes wrong, on real engines."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from armoflow import Client, items, task, zip_items
from armoflow.errors import (
    ArgumentCycleError,
    ClientClosedError,
    DataLostError,
    EngineError,
    EngineUnreachableError,
    EnvelopeError,
    ForeignReferenceError,
    GraphError,
    OptionError,
    RemoteTaskError,
    RemoteTraceback,
    SerializationError,
    SubmissionError,
    TaskError,
    TaskTimeoutError,
    WorkerDiedError,
)
from tests.integration.engines import Up
from tests.integration.gates import Gate, pass_gate


@task
def parse(text: str) -> float:
    return float(text)


@task
def double(number: float) -> float:
    return 2 * number


@task
def total(numbers: list[float]) -> float:
    return sum(numbers)


@task
def add(first: Any, second: Any) -> Any:
    return first + second


@task
def same(value: Any) -> Any:
    return value


@task
def boom(message: str = "boom") -> Any:
    raise ValueError(message)


TEXTS = ["1.5", "n/a", "2.5"]


def cause(error: BaseException | None) -> RemoteTraceback:
    assert error is not None
    assert isinstance(error.__cause__, RemoteTraceback)
    return error.__cause__


def failure(client: Client, value: Any) -> BaseException:
    """What computing a value raises, whichever way."""
    error = client.submit(value).exception()
    assert error is not None
    with pytest.raises(type(error)) as raised:
        client.compute(value)
    assert str(raised.value) == str(error)
    return error


# --- what is told ---------------------------------------------------------------------------------


def test_the_original_type_with_the_remote_traceback(client: Client) -> None:
    error = failure(client, parse("n/a"))
    assert type(error) is ValueError
    assert str(error) == "could not convert string to float: 'n/a'"
    remote = cause(error)
    assert (remote.node, remote.path, remote.skipped, remote.attempts) == ("parse", ["parse"], 0, 1)
    line = parse.function.__code__.co_firstlineno + 2
    assert f'File "{__file__}", line {line}, in parse' in remote.traceback
    assert "return float(text)" in remote.traceback
    assert "armoflow/worker" not in remote.traceback
    assert "in task 'parse'" in str(remote)


@pytest.mark.parametrize("size", [1, 3, None])
def test_the_path_and_what_was_skipped(client: Client, size: int | None) -> None:
    options: Any = {} if size is None else {"batch_size": size}
    parsed = parse.with_options(**options).map(TEXTS)
    doubled = parsed.map(double.with_options(**options))
    combine = add.with_options(**options)
    expected = {
        total(doubled): (["parse[1]", "double[1]", "total"], 2),
        doubled[1]: (["parse[1]", "double[1]"], 1),
        parsed[1]: (["parse[1]"], 0),
        doubled.reduce(combine): (["parse[1]", "double[1]", "add"], 2),
        doubled.fold(combine): (["parse[1]", "double[1]", "add"], 2),
        same(parsed.reduce(combine)): (["parse[1]", "add", "same"], 2),
        parsed.gather(): (["parse[1]", "gather"], 1),
        zip_items(parsed, doubled).starmap(add)[1]: (["parse[1]", "add[1]"], 1),
    }
    for value, (path, skipped) in expected.items():
        remote = cause(client.submit(value).exception())
        assert (remote.node, remote.path, remote.skipped) == ("parse[1]", path, skipped)


def test_a_long_reduction_is_one_step_of_the_path(client: Client) -> None:
    texts = [str(number) for number in range(200)]
    texts[137] = "x"
    for size in (1, 5, 64):
        error = failure(client, parse.map(texts).reduce(add.with_options(batch_size=size)))
        assert cause(error).path == ["parse[137]", "add"]


def test_calls_that_depend_on_a_failed_call(client: Client) -> None:
    bad = boom()
    remote = cause(failure(client, double(double(double(bad)))))
    assert remote.path == ["boom", "double", "double", "double"]
    assert remote.skipped == 3
    remote = cause(failure(client, total(add.map(range(50), second=bad))))
    assert remote.path == ["boom", "add", "total"]
    assert remote.skipped == 51
    future = client.submit(add.map(range(3), second=bad))
    client.gather(future, return_exceptions=True)
    paths = [cause(outcome.error).path for outcome in future.outcomes()]
    assert paths == [["boom", f"add[{index}]"] for index in range(3)]


def test_a_failure_below_a_task_that_returned_a_graph(client: Client) -> None:
    @task
    def nested(text: str) -> Any:
        return double(parse(text))

    @task
    def twice(text: str) -> Any:
        return nested(text)

    remote = cause(failure(client, same(nested("n/a"))))
    assert (remote.node, remote.path) == ("parse", ["parse", "double", "nested", "same"])
    remote = cause(failure(client, twice("n/a")))
    assert (remote.node, remote.path[0], remote.path[-1]) == ("parse", "parse", "twice")
    outcomes = client.gather(client.map(nested, TEXTS), return_exceptions=True)
    assert [outcomes[0], outcomes[2]] == [3.0, 5.0]
    remote = cause(outcomes[1])
    assert (remote.node, remote.path) == ("parse", ["parse", "double", "nested[1]"])
    many = client.gather(client.submit(nested.map(TEXTS)), return_exceptions=True)
    assert cause(many[1]).path == ["parse", "double", "nested[1]"]


def test_one_bad_item_does_not_stop_its_siblings(client: Client) -> None:
    for size in (1, 2, 10):
        doubled = parse.with_options(batch_size=size).map(TEXTS).map(double)
        first, second, third = client.gather(client.submit(doubled), return_exceptions=True)
        assert (first, third) == (3.0, 5.0)
        assert isinstance(second, ValueError)
    mapped = client.map(parse, TEXTS)
    assert [future.exception() is None for future in mapped] == [True, False, True]
    with pytest.raises(ValueError, match="n/a"):
        client.gather(mapped)
    assert client.gather([mapped[:1], mapped[2]]) == [[1.5], 2.5]


@pytest.mark.parametrize("sizes", [(1, 3), (2, 3), (3, 1), (3, 2)])
def test_siblings_finish_whatever_the_batches(client: Client, sizes: tuple[int, int]) -> None:
    first, second = (parse.with_options(batch_size=sizes[0]), add.with_options(batch_size=sizes[1]))
    texts = [*TEXTS, *TEXTS, "4"]
    parsed = first.map(texts)
    for graph in (
        parsed.map(second, second=0),
        second.map(items([0] * 7), parsed),
        zip_items(parsed, items([0] * 7)).starmap(second),
    ):
        values = client.gather(client.submit(graph), return_exceptions=True)
        assert [isinstance(value, ValueError) for value in values] == [
            text == "n/a" for text in texts
        ]
        assert values[-1] == 4.0


def test_errors_may_stand_in_the_place_of_values(client: Client, tmp_path: Path) -> None:
    good, bad = parse("1.5"), parse("x")
    texts = ["1", "y", "3"]

    def lines() -> Iterator[str]:
        yield "1"
        raise OSError("the file is gone")

    first, second, several, sums = client.compute(
        good, bad, parse.map(texts).map(double), total(parse.map(texts)), return_exceptions=True
    )
    assert first == 1.5 and isinstance(second, ValueError) and isinstance(sums, ValueError)
    assert several[0] == 2.0 and several[2] == 6.0 and isinstance(several[1], ValueError)
    nested = client.compute({"a": [good, bad]}, return_exceptions=True)
    assert nested["a"][0] == 1.5 and isinstance(nested["a"][1], ValueError)
    broken = client.compute(parse.map(lines()), return_exceptions=True)
    assert "the file is gone" in str(broken)
    gate = Gate(tmp_path / "gate")
    with gate.closed():
        slow = held(gate.path)
        with pytest.raises(futures.TimeoutError, match="1 of 2 values have not come"):
            client.compute(good, slow, timeout=0.5, return_exceptions=True)


def test_siblings_finish_when_items_are_calls(client: Client) -> None:
    wide = double.with_options(batch_size=4)
    calls = [same(1), boom(), same(3)]
    for graph in (wide.map(calls), items(calls).map(wide), wide.map(iter(calls))):
        values = client.gather(client.submit(graph), return_exceptions=True)
        assert (values[0], str(values[1]), values[2]) == (2, "boom", 6)
        assert cause(values[1]).path == ["boom", "double[1]"]


def test_failed_futures_as_items_and_arguments(client: Client) -> None:
    parsed = client.map(parse, TEXTS)
    values = client.gather(client.map(double, parsed), return_exceptions=True)
    assert (values[0], values[2]) == (3.0, 5.0)
    assert cause(values[1]).node == "parse[1]"
    bad = client.submit(boom())
    values = client.gather(client.map(double, [bad, 2]), return_exceptions=True)
    assert (str(values[0]), values[1]) == ("boom", 4)
    error = failure(client, same(add(1, bad)))
    assert str(error) == "boom"
    assert cause(error).path == ["boom", "add", "same"]


def test_items_kept_by_a_filter_keep_their_names(client: Client) -> None:
    def odd(number: int) -> bool:
        return number % 2 == 1

    @task
    def picky(number: int) -> int:
        if number == 5:
            raise LookupError(number)
        return number

    values = client.gather(
        client.submit(items(range(8)).filter(odd).map(picky)), return_exceptions=True
    )
    assert [values[0], values[1], values[3]] == [1, 3, 7]
    assert cause(values[2]).node == "picky[5]"


# --- exceptions of every kind ---------------------------------------------------------------------


class NeedsMore(Exception):
    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(code)
        self.hint = hint


class HoldsLock(Exception):
    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


def test_an_exception_with_its_own_init(client: Client) -> None:
    @task
    def fails() -> None:
        raise NeedsMore(7, hint="try 8")

    error = failure(client, fails())
    assert isinstance(error, NeedsMore)
    assert (error.args, error.hint) == ((7,), "try 8")


def test_an_exception_that_cannot_be_pickled(client: Client) -> None:
    @task
    def fails() -> None:
        raise HoldsLock

    error = failure(client, fails())
    assert isinstance(error, HoldsLock)
    assert str(error) == "locked"
    assert "raise HoldsLock" in cause(error).traceback


def test_an_exception_of_a_class_made_in_the_task(client: Client) -> None:
    @task
    def fails() -> None:
        class LocalError(Exception):
            pass

        raise LocalError("only there")

    error = client.submit(fails()).exception()
    assert type(error).__name__ == "LocalError"
    assert str(error) == "only there"


@pytest.mark.parametrize("kind", [EnvelopeError, DataLostError, WorkerDiedError, TimeoutError])
def test_an_error_of_the_tasks_own_is_not_taken_for_ours(
    client: Client, kind: type[Exception], tmp_path: Path
) -> None:
    @task(retries=1)
    def raising(number: int) -> int:
        with (tmp_path / f"{number}").open("a") as log:
            log.write("x")
        raise kind("in the words of the task")

    @task
    def returning() -> Any:
        return raising(3)

    for value in (raising(1), raising.map([2]), returning()):
        with pytest.raises(kind, match="in the words of the task") as caught:
            client.compute(value)
        assert cause(caught.value).attempts == 2
    assert [(tmp_path / f"{number}").read_text() for number in (1, 2, 3)] == ["xx", "xx", "xx"]


def test_an_exception_with_a_long_message(client: Client) -> None:
    @task
    def fails(number: int) -> None:
        raise ValueError(str(number) * 1_000_000 + " the reason")

    for value in (fails(7), fails.map([7, 7])):
        error = client.submit(value).exception()
        assert type(error) is ValueError
        assert str(error).startswith("7777")
        assert str(error).endswith("the reason")
        assert len(str(error)) == 1_000_011
        assert len(str(cause(error))) < 20_000


def test_outputs_handed_to_children_fail_one_by_one(client: Client) -> None:
    @task(outputs=2)
    def half(number: int) -> Any:
        return double(number), boom()

    good, bad = half(1)
    assert client.compute(good) == 2
    assert cause(failure(client, bad)).path == ["boom", "half"]
    first, second = client.submit(good), client.submit(same(bad))
    assert first.result() == 2
    assert cause(second.exception()).path == ["boom", "half", "same"]


def test_causes_are_told(client: Client) -> None:
    @task
    def fails() -> None:
        try:
            int("x")
        except ValueError as error:
            raise RuntimeError("no number") from error

    text = cause(failure(client, fails())).traceback
    assert "invalid literal for int()" in text
    assert "direct cause" in text


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (StopIteration(5), "StopIteration: 5"),
        (GeneratorExit(), "GeneratorExit"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_would_stop_the_caller_is_an_error_of_the_task(
    client: Client, raised: BaseException, told: str
) -> None:
    @task
    def leaves() -> None:
        raise raised

    error = failure(client, leaves())
    assert isinstance(error, RemoteTaskError)
    assert str(error) == told
    assert cause(error).node == "leaves"


def test_sys_exit_in_one_item(client: Client) -> None:
    @task(batch_size=4)
    def leave_at_two(number: int) -> int:
        if number == 2:
            sys.exit(number)
        return number

    values = client.gather(client.submit(leave_at_two.map(range(4))), return_exceptions=True)
    assert [values[0], values[1], values[3]] == [0, 1, 3]
    assert isinstance(values[2], RemoteTaskError)


def test_endless_recursion(client: Client) -> None:
    @task
    def down(depth: int) -> int:
        def deeper(depth: int) -> int:
            return deeper(depth + 1)

        return deeper(depth)

    error = failure(client, down(0))
    assert isinstance(error, RecursionError)
    assert "more frames" in cause(error).traceback


def test_no_memory(client: Client) -> None:
    @task
    def fill() -> int:
        return len(bytearray(1 << 62))

    assert isinstance(failure(client, fill()), MemoryError)


def test_a_value_that_cannot_be_pickled(client: Client) -> None:
    @task
    def numbers() -> Any:
        return (number for number in range(3))

    @task(batch_size=3)
    def lock(number: int) -> Any:
        return {"of": [threading.Lock()]} if number == 1 else number

    error = failure(client, numbers())
    assert isinstance(error, SerializationError)
    assert "task 'numbers' returned" in str(error)
    assert "generator" in str(error)
    values = client.gather(client.submit(lock.map(range(3))), return_exceptions=True)
    assert (values[0], values[2]) == (0, 2)
    assert "lock[1]" in str(values[1])
    assert "['of'][0]" in str(values[1])


@pytest.mark.parametrize("returned", [(1, 2, 3), (1,), 5, None, "ab"], ids=repr)
def test_the_wrong_number_of_outputs(client: Client, returned: Any) -> None:
    @task(outputs=2)
    def pair() -> Any:
        return returned

    first, second = pair()
    for value in (first, second, add(first, second)):
        error = failure(client, value)
        assert isinstance(error, TaskError)
        assert "'pair'" in str(error)
        assert "2 values" in str(error)


def test_a_reduction_of_nothing(client: Client) -> None:
    error = failure(client, items([]).reduce(add))
    assert isinstance(error, TypeError)
    assert "add" in str(error)


def test_a_task_that_prints_a_lot(client: Client) -> None:
    @task
    def chatter() -> str:
        for _ in range(20_000):
            print("x" * 500)
            print("y" * 500, file=sys.stderr)
        return "done"

    assert client.compute(chatter(), same(1)) == ("done", 1)


def test_an_iterator_that_raises(client: Client) -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        client.compute(double.map(numbers()))


def test_a_collection_over_what_is_no_iterable(client: Client) -> None:
    error = failure(client, double.map(same(3)))
    assert isinstance(error, TypeError)
    assert "not iterable" in str(error)
    remote = cause(failure(client, total(parse.map(same(TEXTS)))))
    assert (remote.node, remote.path[0], remote.path[-1]) == ("parse[1]", "parse[1]", "total")


# --- before anything runs -------------------------------------------------------------------------


def test_an_argument_that_cannot_be_pickled(client: Client) -> None:
    held = threading.Lock()
    cases = {
        add(1, second=[{"key": held}]): ["task 'add'", "argument 'second'", "[0]['key']"],
        add(held, 1): ["task 'add'", "argument 'first'", "lock"],
        same.map([1, 2, held]): ["same[2]", "lock"],
        add.map([1, 2], second={"a": held}): ["'add'", "argument 'second'", "['a']"],
        items([1, 2]).reduce(add, initial=held): ["'add'", "initial", "lock"],
        task(name="closes")(lambda: held)(): ["task 'closes'", "'held'", "lock"],
    }
    for value, parts in cases.items():
        with pytest.raises(SerializationError) as raised:
            client.compute(value)
        for part in parts:
            assert part in str(raised.value)
    with pytest.raises(SerializationError, match="lock"):
        client.put([held])
    assert client.compute(add(1, 1)) == 2


def test_an_argument_that_contains_itself() -> None:
    loop: list[Any] = [1, same(1)]
    loop.append({"loop": loop})
    with pytest.raises(ArgumentCycleError, match=r"task 'same'.*contains itself"):
        same(loop)
    with pytest.raises(ArgumentCycleError, match="contains itself"):
        add.map([1], second=loop)


def test_options_are_checked_where_they_are_written() -> None:
    with pytest.raises(OptionError, match="did you mean 'retries'"):
        task(retrys=2)(len)  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="did you mean 'timeout'"):
        same.with_options(timeuot=2)  # type: ignore[call-arg]
    with pytest.raises(OptionError, match="did you mean 'retries'"):
        Client(local=True, retrys=2)
    with pytest.raises(OptionError, match="priority must be"):
        task(priority=0)(len)


@pytest.fixture
def quiet(engine: Up, client: Client) -> Iterator[Callable[[], list[str]]]:
    """The RPCs made since the client connected."""
    before = len(engine.called())
    yield lambda: engine.called()[before:]


def test_impossible_requests_are_refused_before_anything_is_sent(
    client: Client, quiet: Callable[[], list[str]]
) -> None:
    for options, words in (
        ({"partition": "gpu"}, ["'gpu'", "'default'"]),
        ({"priority": 11}, ["11", "10"]),
    ):
        wrong: Any = same.with_options(**options)
        for value in (
            wrong(1),
            double(add(1, wrong(2))),
            wrong.map(range(10)).map(double).reduce(add),
            items(range(10)).reduce(add.with_options(**options)),
            items(range(10)).filter(wrong),
        ):
            with pytest.raises(SubmissionError) as raised:
                client.compute(value)
            assert all(word in str(raised.value) for word in words)
            with pytest.raises(SubmissionError):
                client.submit(value)
        with pytest.raises(SubmissionError):
            client.as_completed(wrong.map(range(3)))
    assert quiet() == []


def test_references_of_another_client_are_refused_before_anything_is_sent(
    client: Client, quiet: Callable[[], list[str]]
) -> None:
    with Client(local=True) as other:
        future, stored = other.submit(same(1)), other.put([1])
        for foreign in (future, stored):
            for value in (
                add(foreign, 1),
                double(add(1, second=[{"deep": (foreign,)}])),
                same.map([1, foreign]),
                add.map([1, 2], second=foreign),
                items([1, 2]).reduce(add, initial=foreign),
            ):
                with pytest.raises(ForeignReferenceError, match="another client"):
                    client.compute(value)
                with pytest.raises(ForeignReferenceError, match="another client"):
                    client.submit(value)
        assert quiet() == []
        with pytest.raises(ForeignReferenceError, match="another client"):
            client.compute(same.map(iter([1, future])))


def test_a_child_in_an_unknown_partition(client: Client) -> None:
    @task
    def parent() -> Any:
        return same.with_options(partition="gpu")(1)

    error = failure(client, parent())
    assert isinstance(error, SubmissionError)
    assert "'gpu', which this engine does not have: it has 'default'" in str(error)
    assert isinstance(error.__cause__, RemoteTraceback) and error.__cause__.node == "parent"


def test_compute_inside_a_task(client: Client) -> None:
    @task
    def impatient() -> Any:
        return same(1).compute()

    error = failure(client, impatient())
    assert isinstance(error, GraphError)
    assert "return the Delayed" in str(error)


# --- connecting -----------------------------------------------------------------------------------


def test_nothing_answers(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        for endpoint in (f"http://127.0.0.1:{port}", f"unix:{tmp_path}/none"):
            with pytest.raises(EngineUnreachableError) as raised:
                Client(endpoint, connect_timeout=0.3)
            assert endpoint.removeprefix("http://") in str(raised.value)
            assert "armoflow up" in str(raised.value)


def test_an_endpoint_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = "{}:{}".format(*silent.getsockname())
        with pytest.raises(EngineUnreachableError, match=re.escape(address)):
            Client(f"http://{address}", connect_timeout=0.3)


@pytest.mark.parametrize(
    "endpoint", ["localhost", "http://", "http://host/path:1", "ftp://x:y", "ray://x:1"]
)
def test_what_is_no_address(endpoint: str) -> None:
    with pytest.raises(EngineUnreachableError, match="http://host:port"):
        Client(endpoint)


def test_a_server_that_is_no_armonik() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(EngineError, match=rf"127.0.0.1:{port} is not an ArmoniK"):
            Client(f"http://127.0.0.1:{port}", connect_timeout=5.0)
    finally:
        server.stop(None).wait()


def test_a_closed_client(engine: Up) -> None:
    client = Client(engine.endpoint)
    done = client.submit(same(5))
    assert done.result() == 5
    client.close()
    client.close()
    for use in (
        lambda: client.compute(same(1)),
        lambda: client.submit(same(1)),
        lambda: client.map(same, [1]),
        lambda: client.put(1),
        lambda: client.as_completed(same.map([1])),
        client.__enter__,
    ):
        with pytest.raises(ClientClosedError, match="closed"):
            use()
    assert done.result() == 5
    assert "closed" in repr(client)


# --- processes that die ---------------------------------------------------------------------------


def times(log: Path) -> int:
    """How often a task has noted that it ran."""
    return len(log.read_text()) if log.exists() else 0


def note(log: Path, text: str = "x") -> int:
    """Note that a task runs; returns how often it has been noted."""
    with log.open("a") as file:
        file.write(text)
    return len(log.read_text())


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exit_at_once() -> None:
    os._exit(3)


def crash() -> None:
    ctypes.string_at(0)


@pytest.mark.parametrize(
    ("die", "told"),
    [(kill_myself, "SIGKILL"), (exit_at_once, "status 3"), (crash, "SIGSEGV")],
)
def test_a_process_that_dies(
    client: Client, tmp_path: Path, die: Callable[[], None], told: str
) -> None:
    log = tmp_path / "log"

    @task(crash_retries=1)
    def fatal() -> None:
        note(log)
        print("famous last words")
        die()

    other = client.submit(double.map(range(20)))
    error = client.submit(same(fatal())).exception()
    assert isinstance(error, WorkerDiedError)
    for part in ("'fatal'", told):
        assert part in str(error)
    remote = cause(error)
    assert remote.output == "famous last words"
    assert (remote.node, remote.path, remote.attempts) == ("fatal", ["fatal", "same"], 2)
    assert times(log) == 2
    assert other.result() == [2 * number for number in range(20)]


def test_a_segmentation_fault_shows_where(client: Client) -> None:
    @task(crash_retries=0)
    def fatal() -> None:
        crash()

    error = client.submit(fatal()).exception()
    assert "Segmentation fault" in str(error)
    assert f"{Path(__file__).name}" in str(error)
    assert "in crash" in str(error)


def test_a_crash_is_replayed(client: Client, tmp_path: Path) -> None:
    log = tmp_path / "log"

    @task
    def unlucky() -> int:
        if note(log) < 3:
            kill_myself()
        return 42

    assert client.compute(unlucky()) == 42
    assert times(log) == 3


def test_one_fatal_item_of_a_batch(client: Client, tmp_path: Path) -> None:
    @task(batch_size=8, crash_retries=1)
    def fatal_at_five(number: int) -> int:
        note(tmp_path / str(number))
        if number == 5:
            kill_myself()
        return number

    values = client.gather(client.submit(fatal_at_five.map(range(8))), return_exceptions=True)
    error = values.pop(5)
    assert values == [0, 1, 2, 3, 4, 6, 7]
    assert isinstance(error, WorkerDiedError)
    assert cause(error).node == "fatal_at_five[5]"
    assert "fatal_at_five[5]" in str(error)
    # Only the fatal item spends attempts; finished ones are kept.
    assert [times(tmp_path / str(number)) for number in range(8)] == [1, 1, 1, 1, 1, 2, 1, 1]


# --- retries and timeouts -------------------------------------------------------------------------


def test_retries_with_backoff(client: Client, tmp_path: Path) -> None:
    log = tmp_path / "log"

    @task(retries=3, backoff=0.01)
    def flaky() -> str:
        if note(log) < 3:
            raise ConnectionError("not yet")
        return "at last"

    assert client.compute(flaky()) == "at last"
    assert times(log) == 3


def test_the_last_attempt_is_told(client: Client, tmp_path: Path) -> None:
    log = tmp_path / "log"

    @task(retries=2, backoff=0.01)
    def hopeless() -> None:
        raise ConnectionError(f"attempt {note(log)}")

    error = client.submit(hopeless()).exception()
    assert isinstance(error, ConnectionError)
    assert str(error) == "attempt 3"
    assert cause(error).attempts == 3
    assert times(log) == 3


def test_retries_of_items(client: Client, tmp_path: Path) -> None:
    @task(retries=2, backoff=0.01, batch_size=5)
    def flaky(number: int) -> int:
        if note(tmp_path / str(number)) <= number:
            raise ConnectionError(number)
        return number

    values = client.gather(client.submit(flaky.map(range(5))), return_exceptions=True)
    assert values[:3] == [0, 1, 2]
    assert [cause(value).attempts for value in values[3:]] == [3, 3]
    assert [times(tmp_path / str(number)) for number in range(5)] == [1, 2, 3, 3, 3]


def test_retries_of_the_client(engine: Up, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Client(engine.endpoint, retries=1, backoff=0.0) as client:

        @task
        def flaky() -> int:
            if note(log) < 2:
                raise ConnectionError
            return 1

        assert client.compute(flaky()) == 1
        with pytest.raises(ValueError, match="boom"):
            client.compute(boom.with_options(retries=0)())


def sleep_for_ever() -> None:
    time.sleep(10_000)


def loop_for_ever() -> None:
    while True:
        pass


def match_for_ever() -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")


@pytest.mark.parametrize("hang", [sleep_for_ever, loop_for_ever, match_for_ever])
def test_a_timeout(client: Client, tmp_path: Path, hang: Callable[[], None]) -> None:
    pids = tmp_path / "pids"

    @task(timeout=0.5)
    def slow() -> None:
        pids.write_text(str(os.getpid()))
        hang()

    error = client.submit(same(slow())).exception()
    assert isinstance(error, TaskTimeoutError)
    assert isinstance(error, TimeoutError)
    assert "'slow'" in str(error)
    assert "0.5 s" in str(error)
    assert cause(error).path == ["slow", "same"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pids.read_text()), 0)
    assert client.compute(double.map(range(10))) == [2 * number for number in range(10)]


def test_a_timeout_of_one_item(client: Client, tmp_path: Path) -> None:
    @task(timeout=0.5, batch_size=6)
    def slow_at_two(number: int) -> int:
        note(tmp_path / str(number))
        if number == 2:
            sleep_for_ever()
        return number

    values = client.gather(client.submit(slow_at_two.map(range(6))), return_exceptions=True)
    error = values.pop(2)
    assert values == [0, 1, 3, 4, 5]
    assert isinstance(error, TaskTimeoutError)
    assert cause(error).node == "slow_at_two[2]"
    assert [times(tmp_path / str(number)) for number in range(6)] == [1] * 6


def test_a_timeout_is_retried(client: Client, tmp_path: Path) -> None:
    log = tmp_path / "log"

    @task(timeout=0.5, retries=2, backoff=0.01)
    def slow_twice() -> int:
        if note(log) < 3:
            sleep_for_ever()
        return 7

    assert client.compute(slow_twice()) == 7
    assert times(log) == 3

    @task(timeout=0.3, retries=1, backoff=0.01)
    def hopeless() -> None:
        sleep_for_ever()

    error = client.submit(hopeless()).exception()
    assert isinstance(error, TaskTimeoutError)
    assert cause(error).attempts == 2


def test_a_timeout_bounds_each_attempt_of_each_item(client: Client) -> None:
    """Many items together may take longer than the timeout of one."""

    @task(timeout=2.0, batch_size=50)
    def short(number: int) -> int:
        with contextlib.suppress(futures.TimeoutError):  # another class in Python 3.10
            futures.Future[int]().result(0.05)
        return number

    assert client.compute(short.map(range(50))) == list(range(50))


# --- data that is gone ----------------------------------------------------------------------------


@task(fuse=False)
def loaded() -> bytes:
    return bytes(300_000)


@task(fuse=False)
def held(gate: str) -> int:
    pass_gate(gate)
    return 1


@task(fuse=False)
def joined(data: bytes, number: int) -> int:
    return len(data) + number


def delete(client: Client, result_id: str) -> None:
    """Delete a result's data, as the retention of a cluster does."""
    backend: Any = client._backend
    orchestrator = backend._orchestrator
    backend._loop.call(orchestrator.transport.delete(orchestrator.last_session, [result_id]))


def test_an_input_that_was_lost_is_named_with_its_task(client: Client, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    first = loaded()
    with gate.closed():
        future = client.submit(joined(first, held(gate.path)))
        needed: Any = client.submit(first)  # another run: its result is an input of the next one
        needed.result()
        result_id = needed.pieces[0].result.id
        later = client.submit(joined(needed, held(gate.path)))
        delete(client, result_id)
    error = later.exception()
    assert isinstance(error, DataLostError)
    assert f"result {result_id} of task 'loaded'" in str(error)
    assert cause(error).path[-1] == "joined" or "which task 'joined' needs" in str(error)
    assert future.result() == 300_001


def deleted(client: Client) -> Any:
    """A future whose data the engine has not any more."""
    future: Any = client.submit(loaded())
    future.result()
    delete(client, future.pieces[0].result.id)
    return future


def test_what_was_deleted_before_is_told_alike_by_every_engine(client: Client) -> None:
    for use in (
        lambda lost: joined(lost, 1),
        lambda lost: joined(b"", joined(lost, 1)),
        lambda lost: joined.map([lost, b"1"], number=1),
        lambda lost: joined.map([b"1", b"2"], number=joined(lost, 1)),
    ):
        lost = deleted(client)
        told = f"result {lost.pieces[0].result.id} of task 'loaded' is gone: it was deleted, or "
        with pytest.raises(DataLostError, match=told):
            client.compute(use(lost))
        assert len(lost.result()) == 300_000  # the client has it, and stores it anew
        assert client.compute(joined(lost, 1)) == 300_001
    graphs = joined(deleted(client), 1), joined(b"12", 1)
    lost, other = client.compute(*graphs, return_exceptions=True)
    assert isinstance(lost, DataLostError)
    assert other == 3


def test_what_was_put_and_lost_is_named(client: Client) -> None:
    stored: Any = client.put(bytes(300_000))
    delete(client, stored.constant.result_id)
    error = client.submit(joined(stored, 1)).exception()
    assert isinstance(error, DataLostError)
    assert stored.constant.result_id in str(error)
    assert "task 'joined'" in str(error)
