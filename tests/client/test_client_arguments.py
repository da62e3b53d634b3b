"""What a client is told: every argument is checked, and what others call it is answered."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

from armoflow import Client
from armoflow.client.client_options import ARGUMENTS
from armoflow.errors import EngineUnreachableError, GraphError, OptionError
from armoflow.options import OPTION_NAMES


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"payloads": "nonsense"}, "payloads must be one of 'auto', 'delayed', .* not 'nonsense'"),
        ({"payloads": None}, "payloads must be one of"),
        ({"endpoint": 4}, "endpoint must be text .* not 4; .* workers="),
        ({"endpoint": b"unix:/s"}, "endpoint must be text"),
        ({"endpoint": ""}, "endpoint '' is empty: leave it out"),
        ({"endpoint": "http://host:1", "local": True}, "leave out endpoint='http://host:1'"),
        ({"workers": 0}, "workers must be a positive integer, not 0"),
        ({"workers": True}, "workers must be a positive integer, not True"),
        ({"workers": "4"}, "workers must be a positive integer, not '4'"),
        ({"workers": 2.0}, "workers must be a positive integer"),
        ({"workers": 10**9}, "workers must be at most 4096, not 1000000000: each is a process"),
        ({"max_priority": 0}, "max_priority must be a positive integer"),
        ({"max_priority": None}, "max_priority must be a positive integer, not None"),
        ({"max_priority": 10**30}, "max_priority must be a positive integer, up to 1000000000"),
        ({"state": "\ud800"}, r"state must be the name of a directory, not '\\ud800'"),
        ({"name": 5 * [1] * 10**6}, "^name must be text, not .{,2000}what armoflow ps shows$"),
        ({"local": "yes"}, "local must be True or False, not 'yes'"),
        ({"local": 1}, "local must be True or False"),
        ({"extensions": "yes"}, "extensions must be True, False or None, not 'yes'"),
        ({"connect_timeout": -1}, "connect_timeout must be a positive number of seconds, up to 6"),
        ({"connect_timeout": 1e300}, r"up to 604800, not 1e\+300"),
        ({"connect_timeout": 0}, "connect_timeout must be a positive"),
        ({"connect_timeout": math.nan}, "connect_timeout must be a positive"),
        ({"connect_timeout": math.inf}, "connect_timeout must be a positive"),
        ({"connect_timeout": "10"}, "connect_timeout must be a positive"),
        ({"connect_timeout": True}, "connect_timeout must be a positive"),
        ({"progress": "yes"}, "progress must be True, False or None, not 'yes'"),
        ({"name": 5}, "name must be text, not 5"),
        ({"name": "\x1b[31m"}, "name must be printable text on one line"),
        ({"inline_seconds": -1}, "inline_seconds must be a number of seconds from 0 to 10, not -1"),
        ({"inline_seconds": 11}, "inline_seconds must be a number of seconds from 0 to 10"),
        ({"inline_seconds": math.nan}, "inline_seconds must be a number"),
        ({"inline_seconds": True}, "inline_seconds must be a number"),
        ({"inline_seconds": "0"}, "inline_seconds must be a number"),
        ({"retries": -1}, "retries must be an integer from 0 to 1000000000, not -1"),
        ({"n_workers": 2}, "unknown argument 'n_workers': write workers="),
        ({"threads_per_worker": 2}, "write workers=.*one task at a time"),
        ({"num_cpus": 2}, "write workers="),
        ({"max_workers": 2}, "write workers="),
        ({"n_jobs": 2}, "write workers="),
        ({"address": "tcp://host:8786"}, "unknown argument 'address': write endpoint="),
        ({"scheduler": "threads"}, "write endpoint="),
        ({"asynchronous": True}, "can be awaited"),
        ({"max_priorty": 5}, "did you mean 'max_priority'"),
        ({"retrys": 5}, "did you mean 'retries'"),
        ({"wrokers": 5}, "did you mean 'workers'"),
        ({"zzz": 5}, "unknown argument 'zzz': known: endpoint, workers"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        Client(**arguments)


def test_no_argument_is_an_option_too() -> None:
    assert not set(ARGUMENTS) & set(OPTION_NAMES)


def test_an_endpoint_with_a_port_that_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(EngineUnreachableError, match="'http://localhost:99999' is not an address"):
        Client("http://localhost:99999")


def test_what_the_environment_says_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMOFLOW_ENDPOINT", "tcp://host:1")
    with pytest.raises(EngineUnreachableError, match="'tcp://host:1' is not an address"):
        Client()
    monkeypatch.delenv("ARMOFLOW_ENDPOINT")
    monkeypatch.setenv("ARMOFLOW_EXTENSIONS", "maybe")
    with pytest.raises(OptionError, match="ARMOFLOW_EXTENSIONS must be 0 or 1, not 'maybe'"):
        Client()


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("shutdown", r"client.close\(\)"), ("scatter", "client.put"), ("persist", "client.submit")],
)
def test_methods_of_other_clients(name: str, remedy: str) -> None:
    with Client(local=True) as client:
        with pytest.raises(AttributeError, match=f"no attribute '{name}': write {remedy}"):
            getattr(client, name)
        assert not hasattr(client, "something")


def test_a_client_is_not_pickled() -> None:
    import pickle

    with Client(local=True) as client, pytest.raises(GraphError, match="Return the Delayed"):
        pickle.dumps(client)


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "armoflow", "--help"], capture_output=True, text=True, check=True
    )
    assert "armoflow" in done.stdout
    assert "worker" in done.stdout
