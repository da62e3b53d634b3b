"""What is tried again, and after what pause: by every door, and in the graphs that tasks return."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

import armoflow
from armoflow import Client, config, current_task, task
from armoflow.codec.payload import Settings
from armoflow.errors import OptionError, RemoteTraceback, SerializationError, TaskTimeoutError
from armoflow.options import DEFAULT_OPTIONS, TaskOptions
from armoflow.orchestrator.planning.rules import Rules
from tests.integration.engines import Up
from tests.integration.looking import Looking


class BusyError(Exception):
    """A service that is asked too often."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def is_busy(error: BaseException) -> bool:
    return isinstance(error, BusyError) and error.code == 503


def breaks(error: BaseException) -> bool:
    raise RuntimeError("cannot tell")


@task(backoff=0)
def ask(code: int) -> int:
    if current_task().attempt < 3:
        raise BusyError(code)
    return code


@task
def asks(code: int) -> Any:
    return ask(code) if code > 500 else nothing(code)


@task
def nothing(code: int) -> int:
    return code


@task
def sleeps(seconds: float) -> None:
    if current_task().attempt == 1:
        time.sleep(seconds)


@pytest.fixture(scope="module", params=["local", "engine"])
def client(request: pytest.FixtureRequest, engine: Up) -> Iterator[Client]:
    if request.param == "engine":
        with Client(engine.endpoint, workers=2) as connected:
            yield connected
    else:
        with Client(local=True) as here:
            yield here


def attempts_of(error: BaseException) -> int:
    assert isinstance(error.__cause__, RemoteTraceback)
    return error.__cause__.attempts


@pytest.mark.parametrize("retry_on", [BusyError, (OSError, BusyError), [Exception], is_busy])
def test_what_is_named_is_tried_again(client: Client, retry_on: Any) -> None:
    patient = ask.options(retries=2, retry_on=retry_on)
    assert client.compute(patient(503)) == 503
    assert client.compute(patient.map([503, 503])) == [503, 503]
    assert client.submit(patient, 503).result() == 503


@pytest.mark.parametrize("retry_on", [OSError, lambda error: error.code == 504])
def test_anything_else_is_not(client: Client, retry_on: Any) -> None:
    hasty = ask.options(retries=2, retry_on=retry_on)
    with pytest.raises(BusyError) as raised:
        client.compute(hasty(503))
    assert attempts_of(raised.value) == 1
    with pytest.raises(BusyError) as raised:
        client.compute(hasty.map([503, 503]))
    assert attempts_of(raised.value) == 1


class Answering(type):
    """Whoever asks what is of its classes is answered in its own way."""

    def __subclasscheck__(cls, kind: type) -> bool:
        raise RuntimeError(f"whether {kind} is of {cls} is not told")

    __instancecheck__ = __subclasscheck__


class SecretError(Exception, metaclass=Answering):
    pass


def test_types_are_asked_as_except_asks_them(client: Client) -> None:
    hasty = ask.options(retries=2, retry_on=SecretError)
    for asked in (hasty(503), hasty.map([503])):
        with pytest.raises(BusyError) as raised:
            client.compute(asked)
        assert attempts_of(raised.value) == 1
    patient = ask.options(retries=2, retry_on=(SecretError, BusyError))
    assert client.compute(patient(503), patient.map([503]).gather()) == (503, [503])


def test_a_function_that_raises_is_told_itself(client: Client) -> None:
    with pytest.raises(RuntimeError, match="cannot tell"):
        client.compute(ask.options(retries=2, retry_on=breaks)(503))


def test_it_holds_in_the_graph_that_a_task_returns(client: Client) -> None:
    with armoflow.options(retries=2, retry_on=is_busy):
        lazy = asks(503)
        other = asks(504)
    assert client.compute(lazy) == 503
    with pytest.raises(BusyError) as raised:
        client.compute(other)
    assert attempts_of(raised.value) == 1


def test_a_timeout_is_tried_again_where_no_types_leave_it_out(engine: Up) -> None:
    timed = sleeps.options(timeout=0.3, retries=1, backoff=0)
    with Client(engine.endpoint, workers=2) as client:
        for retry_on in (None, TimeoutError, is_busy):
            options = {} if retry_on is None else {"retry_on": retry_on}
            client.compute(timed.options(**options)(60))
        with pytest.raises(TaskTimeoutError):
            client.compute(timed.options(retry_on=ValueError)(60))
        with pytest.raises(TaskTimeoutError):  # the shortest that can be said is not none
            client.compute(sleeps.options(timeout=1e-12)(60))


def test_what_cannot_be_sent_is_told_by_its_name(engine: Up) -> None:
    with Client(engine.endpoint, workers=2) as client:
        held = open(__file__)  # noqa: SIM115, PTH123
        with held, pytest.raises(SerializationError, match="retry_on"):
            client.compute(ask.options(retries=1, retry_on=lambda error: held.closed)(503))


def test_retries_have_room_in_the_time_that_a_task_may_take() -> None:
    """One that pauses beyond it would be ended with its limit for an error, and not its own."""
    days = Rules(TaskOptions(retries=100, backoff=86400), None, DEFAULT_OPTIONS, False)
    assert (days.single.retries, days.packed.retries) == (6, 6)
    doubling = Rules(TaskOptions(retries=10**9, backoff=1), None, DEFAULT_OPTIONS, False).single
    assert doubling.pauses < config.MAXIMUM_DURATION < doubling.pauses + doubling.pause_after(99)
    often = TaskOptions(retries=1000, backoff=1, max_backoff=60)
    assert Rules(often, None, DEFAULT_OPTIONS, False).single.retries == 1000


def test_pauses_double_up_to_a_limit_and_are_shortened_by_chance() -> None:
    settings = Settings(retries=6, backoff=1.0, max_backoff=5.0, jitter=0.5)
    pauses = [settings.pause_after(attempt) for attempt in range(1, 7)]
    assert pauses == [1, 2, 4, 5, 5, 5]
    assert settings.pauses == sum(pauses)
    assert Settings(retries=30, backoff=3600).pause_after(30) == 24 * 3600
    drawn = {settings.draw_pause(3) for _ in range(50)}
    assert len(drawn) > 1
    assert all(2 <= pause <= 4 for pause in drawn)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"retry_on": "OSError"}, "retry_on must be an exception type"),
        ({"retry_on": ()}, "retry_on must be an exception type"),
        ({"retry_on": int}, "retry_on must be an exception type"),
        ({"jitter": 2}, "jitter must be a share from 0 to 1, not 2"),
        ({"max_backoff": -1}, "max_backoff must be a non-negative number of seconds, up to 86400"),
        ({"max_backof": 1}, "did you mean 'max_backoff'"),
        ({"options": {"gpus": 2}}, "options must be a dict of texts"),
        ({"options": "gpus"}, "options must be a dict of texts"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_written(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(OptionError, match=told):
        ask.options(**options)


def test_options_of_two_places_are_equal_if_they_say_the_same() -> None:
    options = [TaskOptions(options={"b": "2", "a": "1"}), TaskOptions(options={"a": "1", "b": "2"})]
    assert options[0] == options[1]
    assert hash(options[0]) == hash(options[1])


def test_options_for_the_cluster_are_those_of_the_task_and_of_its_children(engine: Up) -> None:
    with Client(engine.endpoint, workers=2, inline_seconds=0, options={"project": "p"}) as client:
        assert client.compute(asks(3)) == 3
        looking = Looking(engine)
        tasks = looking.tasks(list(looking.sessions())[-1])
        looking.close()
    assert len(tasks) == 2
    assert {task.options.options["project"] for task in tasks} == {"p"}
