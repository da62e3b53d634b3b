"""What a worker refuses: code of another Python, and children that the session has no place for."""

from __future__ import annotations

from typing import Any

import pytest

from armoflow import Client, task
from armoflow.codec.payload import Payload
from armoflow.errors import RemoteTraceback, SubmissionError, VersionMismatchError
from armoflow.orchestrator.planned import PlannedTask
from tests.integration.engines import Up


@task
def double(number: int) -> int:
    return 2 * number


@task
def total(*numbers: int) -> int:
    return sum(numbers)


@task
def grow(number: int, options: dict[str, Any]) -> Any:
    """Children, some of which ask for something else, and a child of theirs."""
    return total(double(number), double.with_options(**options)(number))


@task
def grow_later(number: int, options: dict[str, Any]) -> Any:
    return grow(number, options)


ELSEWHERE = {"partition": "elsewhere"}
REFUSED = "task 'double' asks for partition 'elsewhere', which this engine does not have: it has "


@pytest.mark.parametrize("make", [grow, grow_later], ids=["child", "grandchild"])
def test_a_child_for_a_partition_that_is_not_there(client: Client, make: Any) -> None:
    """An agent accepts it, and then it would wait for ever."""
    with pytest.raises(SubmissionError) as refused:
        client.compute(make(1, ELSEWHERE))
    assert str(refused.value) == REFUSED + "'default'"
    cause = refused.value.__cause__
    assert isinstance(cause, RemoteTraceback) and cause.node == "grow"
    assert client.compute(make(1, {"partition": "default"})) == 4


def test_a_priority_that_queues_do_not_take(engine: Up) -> None:
    with Client(engine.endpoint, max_priority=5) as client:
        with pytest.raises(SubmissionError, match="asks for priority 6, but the engine's queues"):
            client.compute(grow(1, {"priority": 6}))
        assert client.compute(grow(1, {"priority": 5})) == 4


def test_items_that_ask_for_too_much_fail_alone(client: Client) -> None:
    @task
    def some(number: int) -> Any:
        return double.with_options(partition="elsewhere")(number) if number == 2 else number

    futures = client.map(some.with_options(batch_size=4), range(4))
    assert [future.result() for future in futures if future is not futures[2]] == [0, 1, 3]
    with pytest.raises(SubmissionError, match="'elsewhere'"):
        futures[2].result()


def test_a_map_over_values_of_a_task_is_refused_too(client: Client) -> None:
    @task
    def numbers() -> list[int]:
        return [1, 2, 3]

    @task
    def spread() -> Any:
        return double.with_options(partition="elsewhere").map(numbers()).gather()

    with pytest.raises(SubmissionError, match="'elsewhere'"):
        client.compute(spread())


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ("2.7.18 3.1.1 0.1.0", "task 'double' comes from Python 2.7.18, but this worker has Pyth"),
        ("{python} 1.6.0 0.1.0", "comes from cloudpickle 1.6.0, but this worker has cloudpickle"),
        ("{python} {cloudpickle} 7.5.1", "workers (their image) with armoflow 7.5"),
    ],
)
def test_code_of_other_versions_is_not_loaded(
    client: Client, monkeypatch: pytest.MonkeyPatch, versions: str, message: str
) -> None:
    fill = PlannedTask.fill

    def fill_as_others(planned: PlannedTask) -> Payload:
        payload = fill(planned)
        python, cloudpickle, *_ = payload.versions.split()
        payload.versions = versions.format(python=python, cloudpickle=cloudpickle)
        return payload

    class Trap:
        """Its loading would be noticed."""

        def __reduce__(self) -> Any:
            return exec, ("raise SystemError('loaded')",)

    trap = Trap()

    @task(name="double")
    def caught(number: int) -> int:
        return number if trap else 0

    assert client.compute(double(1)) == 2
    with monkeypatch.context() as patched:
        patched.setattr(PlannedTask, "fill", fill_as_others)
        for graph in (caught(1), caught.map([1, 2, 3]).gather()):
            with pytest.raises(VersionMismatchError) as refused:
                client.compute(graph)
            assert message in str(refused.value)
    assert client.compute(double(2)) == 4
