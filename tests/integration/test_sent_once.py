"""Large data inside arguments: sent once, whatever refers to it, and never taken for other data."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import armoflow
from armoflow import Client, FileCopy, task
from armoflow.protocol.frames import CONSTANT_PREFIX, PAYLOAD_PREFIX
from tests.integration.engines import Up
from tests.integration.looking import Looking

SIZE = 3 << 20
CALLS = 12


@task
def added(array: Any, number: int) -> float:
    array += number  # its own, whoever else has the same
    return float(array.sum())


@task
def summed(number: int, array: Any) -> float:
    return float(array.sum()) + number


@task
def length(data: Any) -> int:
    return len(data)


@task
def told(path: FileCopy) -> tuple[str, int]:
    return path.name, len(Path(path).read_bytes())


@dataclasses.dataclass
class Measurement:
    name: str
    table: FileCopy


@task
def of_measurement(measurement: Measurement) -> tuple[str, int]:
    return measurement.table.name, len(Path(measurement.table).read_bytes())


@task
def with_default(number: int, path: Any) -> int:
    return number + len(Path(path).read_bytes())


class Sent:
    """Counts the bytes that clients have sent to an engine."""

    def __init__(self, engine: Up) -> None:
        self._looking = Looking(engine)

    def __call__(self) -> int:
        """The bytes of payloads and of what goes beside them, in the newest session."""
        newest = list(self._looking.sessions())[-1]
        prefixes = (PAYLOAD_PREFIX, CONSTANT_PREFIX)
        found = self._looking.results_of(newest)
        return sum(int(one.size or 0) for one in found if one.name.startswith(prefixes))

    def close(self) -> None:
        self._looking.close()


@pytest.fixture
def sent(engine: Up) -> Iterator[Sent]:
    counting = Sent(engine)
    yield counting
    counting.close()


def numbers() -> Any:
    return np.arange(SIZE // 8, dtype=np.float64)


def test_an_array_that_many_calls_take_is_sent_once(client: Client, sent: Sent) -> None:
    array = numbers()
    expected = [float((array + number).sum()) for number in range(CALLS)]
    assert client.compute([added(array, number) for number in range(CALLS)]) == expected
    assert SIZE <= sent() < 1.2 * SIZE


def test_so_it_is_where_calls_come_one_by_one_and_in_maps(client: Client, sent: Sent) -> None:
    array = numbers()
    expected = [float((array + number).sum()) for number in range(CALLS)]
    futures = [client.submit(added(array, number)) for number in range(CALLS)]
    assert [future.result() for future in futures] == expected
    assert client.compute(added.map([array] * CALLS, range(CALLS))) == expected
    sums = [float(array.sum()) + number for number in range(CALLS)]
    for _ in range(2):
        assert client.compute(summed.map(range(CALLS), array=array)) == sums
    assert client.compute(length.map([{"deep": [array]}] * 3)) == [1] * 3
    assert sent() < 1.2 * SIZE


@task
def nested(number: int, data: dict[str, list[Any]]) -> float:
    return float(data["deep"][0].sum()) + number


@task
def many_of(array: Any, count: int) -> Any:
    return [summed.with_options(batch_size=1)(number, array) for number in range(count)]


MEDIUM = 200_000
TEXT = "x" * MEDIUM


@pytest.mark.parametrize(
    ("calls", "most"),
    [
        (lambda array: [summed(n, array) for n in range(CALLS)], 1),
        (lambda array: [summed.with_options(batch_size=1)(n, array) for n in range(CALLS)], 1),
        (lambda array: summed.with_options(batch_size=1).map(range(CALLS), array=array), 1),
        (
            lambda array: nested.with_options(batch_size=1).map(
                range(CALLS), data={"deep": [array]}
            ),
            1,
        ),
        (lambda _: [length(TEXT) for _ in range(CALLS)], 1),
        # Without a look at all arguments: with the first call, and once for all others.
        (lambda array: [nested(n, {"deep": [array]}) for n in range(CALLS)], 2),
        (lambda array: added.map([array] * CALLS, range(CALLS)), 2),
        # From here and from there.
        (lambda array: many_of(array, CALLS), 2),
    ],
)
def test_what_is_not_that_large_is_not_sent_with_each_call(
    engine: Up, sent: Sent, calls: Any, most: int
) -> None:
    array = np.random.default_rng(0).random(MEDIUM // 8)
    with Client(engine.endpoint, workers=2, inline_seconds=0) as client:
        assert client.compute(calls(array))
        assert sent() < (most + 0.5) * MEDIUM


def test_what_is_not_that_large_is_sent_twice_for_many_submits(client: Client, sent: Sent) -> None:
    array = np.random.default_rng(0).random(MEDIUM // 8)
    futures = [client.submit(summed(number, array)) for number in range(CALLS)]
    assert [f.result() - n for n, f in enumerate(futures)] == [float(array.sum())] * CALLS
    for number in range(CALLS):  # with the same ends, and another one in the middle
        array[len(array) // 2] = number
        futures[number] = client.submit(summed(0, array))
    assert len({future.result() for future in futures}) == CALLS
    assert sent() < (2 + CALLS + 0.7) * MEDIUM


def test_bytes_are_sent_once(client: Client, sent: Sent) -> None:
    data = os.urandom(SIZE)
    assert client.compute([length(data), length(bytearray(data)), length([data])]) == [
        SIZE,
        SIZE,
        1,
    ]
    assert client.submit(length(data)).result() == SIZE
    assert sent() < 1.2 * SIZE


def test_what_is_written_to_between_submits_is_other_data(client: Client) -> None:
    array = numbers()
    futures = []
    for number in range(4):
        array[:] = number
        futures.append(client.submit(added(array, 0)))
    array[:] = -1
    assert [future.result() for future in futures] == [len(array) * float(n) for n in range(4)]


def test_equal_arguments_of_one_call_are_not_one_object(client: Client) -> None:
    @task
    def apart(one: Any, other: Any, again: Any) -> tuple[bool, bool]:
        one += 1
        return bool(other[0] == 0), one is again

    first, second = np.zeros(SIZE), np.zeros(SIZE)
    assert client.compute(apart(first, second, first)) == (True, True)


def test_what_cannot_be_written_to_cannot_be_there(client: Client) -> None:
    @task
    def writable(array: Any) -> bool:
        return bool(array.flags.writeable)

    array = numbers()
    assert client.compute(writable(array))
    array.flags.writeable = False
    assert not client.compute(writable(array))


def test_a_file_is_sent_once_by_whatever_path(client: Client, sent: Sent, tmp_path: Path) -> None:
    one, other = tmp_path / "one.bin", tmp_path / "other.bin"
    one.write_bytes(os.urandom(SIZE))
    other.write_bytes(one.read_bytes())
    files = [armoflow.file(one), armoflow.file(other), armoflow.file(one)]
    expected = [("one.bin", SIZE), ("other.bin", SIZE), ("one.bin", SIZE)]
    assert client.compute(told.map(files)) == expected
    assert client.compute([told(file) for file in files]) == expected
    assert client.submit(told(files[0])).result() == expected[0]
    measurements = [Measurement("m", file) for file in files]
    assert client.compute([of_measurement(one) for one in measurements]) == expected
    assert client.compute(with_default.map(range(3), path=files[0])) == [SIZE, SIZE + 1, SIZE + 2]
    assert sent() < 1.2 * SIZE


def test_a_folder_sends_each_of_its_files_once(client: Client, sent: Sent, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "large").write_bytes(os.urandom(SIZE))
    for number in range(100):
        (root / f"small {number}").write_bytes(os.urandom(SIZE // 100))

    @task
    def total(folder: Any) -> int:
        return sum(path.stat().st_size for path in Path(folder).iterdir())

    folder = armoflow.folder(root)
    expected = SIZE + 100 * (SIZE // 100)
    assert client.compute([total(folder) for _ in range(5)]) == [expected] * 5
    assert client.compute(told(armoflow.file(root / "large"))) == ("large", SIZE)
    assert sent() < 2.3 * SIZE


@task
def of_both(array: Any, path: FileCopy) -> int:
    return int(array.nbytes) + len(Path(path).read_bytes())


@task(crash_retries=1)
def dies_once(array: Any, path: FileCopy, flag: str) -> int:
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return of_both.local(array, path)


@task
def spread(path: FileCopy) -> Any:
    return [told(path), told.map([path] * 3)]


@task
def spread_changed(path: FileCopy) -> Any:
    Path(path).chmod(0o600)
    Path(path).write_bytes(b"changed")
    return [told(path) for _ in range(2)]


def test_whatever_becomes_of_the_call(client: Client, sent: Sent, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(os.urandom(SIZE))
    array, file = numbers(), armoflow.file(tmp_path / "data.bin")
    whole = 2 * SIZE
    assert client.compute(dies_once(array, file, str(tmp_path / "flag"))) == whole
    assert client.compute(spread(file)) == [("data.bin", SIZE), [("data.bin", SIZE)] * 3]
    assert client.compute(spread_changed(file)) == [("data.bin", len("changed"))] * 2
    assert client.compute(of_both.with_options(cache=True)(array, file)) == whole
    assert [one.result() for one in client.as_completed(of_both.map([array], [file]))] == [whole]
    assert client.compute(of_both.map((array for _ in range(3)), path=file)) == [whole] * 3
    assert sent() < 2.2 * SIZE


def test_a_named_run_sends_it_once_for_all_who_go_on_with_it(
    client: Client, engine: Up, tmp_path: Path
) -> None:
    (tmp_path / "data.bin").write_bytes(os.urandom(SIZE))
    graph = task(sum)([of_both(numbers(), armoflow.file(tmp_path / "data.bin"))] * 2)
    assert client.submit(graph, name=str(tmp_path)).result() == 4 * SIZE
    with Client(engine.endpoint) as other:
        assert other.submit(graph, name=str(tmp_path)).result() == 4 * SIZE


def test_what_was_sent_is_sent_again_after_an_interrupt(client: Client) -> None:
    array = numbers()
    before = client.compute(added(array, 1))
    client._backend.interrupt()
    assert client.compute(added(array, 1)) == before
