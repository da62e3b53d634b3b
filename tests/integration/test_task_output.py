"""What tasks write reaches who waits for them, where the engine tells it."""

from __future__ import annotations

import logging
import subprocess

import pytest

from armoflow import Client, task
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
        told = bool(client.extensions)
        assert client.compute(speak.map(range(2))) == [0, 1]
        lines, errors = shown(capsys)
        names = [f"speak[{number}]" for number in range(2)] if told else []
        assert lines == sorted(
            f"{name} | {what} {name[-2]}" for name in names for what in ("printed", "child")
        )
        assert errors == [f"{name} | logged {name[-2]}" for name in names]
        assert client.submit(outer(7)).result() == 7
    lines, _ = shown(capsys)
    assert lines == (["speak | child 7", "speak | printed 7"] if told else [])


def test_only_what_is_asked_for_is_shown(engine: Up, capsys: pytest.CaptureFixture[str]) -> None:
    with Client(engine.endpoint, logs="errors") as client:
        told = bool(client.extensions)
        client.compute(speak(1))
    assert shown(capsys) == ([], ["speak | logged 1"] if told else [])
    with Client(engine.endpoint) as client:  # nobody watches
        client.compute(speak(2))
    assert shown(capsys) == ([], [])
