"""What tasks write reaches who waits for them, where the engine tells it."""

from __future__ import annotations

import logging
import os
import subprocess

import pytest

from armoflow import Client, task
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.resolve import resolve
from armoflow.protocol.session_output import session_output
from tests.integration.engines import Up


@task
def speak(number: int) -> int:
    print("printed", number)
    subprocess.run(["echo", "child", str(number)], check=True)
    logging.getLogger("mine").warning("logged %d", number)
    return number


@task
def outer(number: int) -> object:
    return speak(number)


def shown(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    out, err = capsys.readouterr()
    return sorted(out.splitlines()), sorted(err.splitlines())


def test_output_is_shown_live(engine: Up, capsys: pytest.CaptureFixture[str]) -> None:
    with Client(engine.endpoint, logs=True) as client:
        assert client.compute(speak.map(range(2))) == [0, 1]
        lines, errors = shown(capsys)
        names = [f"speak[{number}]" for number in range(2)]
        assert lines == sorted(
            f"{name} | {what} {name[-2]}" for name in names for what in ("printed", "child")
        )
        assert errors == [f"{name} | logged {name[-2]}" for name in names]
        assert client.submit(outer(7)).result() == 7
    lines, _ = shown(capsys)
    assert lines == ["speak | child 7", "speak | printed 7"]


@task(batch_size=3)
def halve(number: int) -> int:
    print("halving", number)
    if number % 2:
        raise ValueError(f"odd {number}")
    return number // 2


@task
def add(a: int, b: int) -> int:
    print("adding", a, b)
    return a + b


@task
def family(number: int) -> object:
    print("parent", number)
    return add(halve(number), halve(2 * number))


def test_output_is_shown_by_every_door(engine: Up, capsys: pytest.CaptureFixture[str]) -> None:
    """Packs with failed items, chains, trees, child tasks of their own; and after the end."""
    with Client(engine.endpoint, logs=True, inline_seconds=0.0) as client:
        items = client.submit(halve.map([0, 1, 2]))
        assert isinstance(items.exception(), ValueError)
        assert client.compute(add(halve(halve(8)), halve(10))) == 7
        assert client.compute(family(4)) == 6
    lines, _ = shown(capsys)
    assert lines == sorted(
        [
            *(f"halve[{number}] | halving {number}" for number in range(3)),
            *(f"halve | halving {number}" for number in (8, 4, 10, 4, 8)),
            *("add | adding 2 5", "add | adding 2 4", "family | parent 4"),
        ]
    )
    with Inspection(resolve(engine.endpoint, {}, os.environ)) as inspection:
        (session,) = inspection.sessions(1)[1]
        kept = session_output(inspection, session.session_id, follow=True)  # it has ended
        assert kept is not None
        assert sorted(f"{line['name']} | {line['text']}" for line in kept) == lines


@task(fuse=False)
def step(number: int) -> int:
    print("step", number)
    return number + 1


def test_output_is_shown_of_tasks_that_begin_before_the_engine_knows_it(
    engine: Up, capsys: pytest.CaptureFixture[str]
) -> None:
    """A chain runs on in its process; here what is written is read by standard calls."""
    with Client(engine.endpoint, logs=True, extensions=False, inline_seconds=0.0) as client:
        for number in range(3):
            assert client.compute(step(step(step(number)))) == number + 3
    lines, _ = shown(capsys)
    assert lines == sorted(f"step | step {n + more}" for n in range(3) for more in range(3))


def test_only_what_is_asked_for_is_shown(engine: Up, capsys: pytest.CaptureFixture[str]) -> None:
    with Client(engine.endpoint, logs="errors") as client:
        client.compute(speak(1))
    assert shown(capsys) == ([], ["speak | logged 1"])
    with Client(engine.endpoint) as client:  # nobody watches
        client.compute(speak(2))
    assert shown(capsys) == ([], [])
