"""Which variables workers get."""

from __future__ import annotations

import pytest

from armoflow.errors import OptionError
from armoflow.protocol.grpc_setup import GRPC_SETTINGS
from armoflow.worker.environment import HASH_SEED, worker_environment

SOURCE = {
    "HOME": "/home/somebody",
    "PATH": "/bin",
    "PYTHONPATH": "/code",
    "LC_TIME": "C",
    "OMP_NUM_THREADS": "3",
    "LD_LIBRARY_PATH": "/opt/lib",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "REGION": "eu",
    "EMPTY": "",
    "ComputePlane__AgentChannel__Address": "/cache/agent.sock",
}


def test_a_private_engine_hands_on_all_but_what_is_armoflows_own() -> None:
    environment = worker_environment({**SOURCE, **GRPC_SETTINGS})
    own = {name: value for name, value in SOURCE.items() if not name.startswith("ComputePlane")}
    assert environment == {**own, "PYTHONHASHSEED": HASH_SEED}


def test_what_the_user_has_set_for_grpc_stays() -> None:
    environment = worker_environment({"GRPC_EXPERIMENTS": "mine"})
    assert environment == {"GRPC_EXPERIMENTS": "mine", "PYTHONHASHSEED": HASH_SEED}


@pytest.mark.parametrize("listed", [False, True])
def test_the_seed_of_hashes_is_one_for_all_workers_unless_it_is_set(listed: bool) -> None:
    assert worker_environment({}, listed=listed)["PYTHONHASHSEED"] == HASH_SEED
    environment = worker_environment({"PYTHONHASHSEED": "random"}, listed=listed)
    assert environment["PYTHONHASHSEED"] == "random"
    environment = worker_environment({}, listed=listed, named=["PYTHONHASHSEED=7"])
    assert environment["PYTHONHASHSEED"] == "7"


def test_an_engine_that_stays_hands_on_what_programs_need() -> None:
    environment = worker_environment(SOURCE, listed=True)
    assert environment.keys() == {
        *("HOME", "PATH", "PYTHONPATH", "LC_TIME", "OMP_NUM_THREADS", "LD_LIBRARY_PATH"),
        "PYTHONHASHSEED",
    }


def test_named_variables_are_added() -> None:
    named = ["REGION", "EMPTY", "MODE=a=b", "NOTHING=", "HOME=/elsewhere"]
    environment = worker_environment(SOURCE, listed=True, named=named)
    assert environment["REGION"] == "eu"
    assert environment["EMPTY"] == environment["NOTHING"] == ""
    assert environment["MODE"] == "a=b"
    assert environment["HOME"] == "/elsewhere"
    assert "AWS_SECRET_ACCESS_KEY" not in environment


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["ABSENT"], r"--env ABSENT is not set here: set it, or write --env ABSENT=VALUE"),
        (["1=2"], "names no variable"),
        ([""], "names no variable"),
        (["=x"], "names no variable"),
        (["A B=x"], "names no variable"),
        (["A=x\0y"], "names no variable"),
        (["REGION", "REGION=us"], "--env REGION is given twice"),
        (["ComputePlane__WorkerChannel__Address=x"], "is set by armoflow for each worker"),
    ],
)
def test_bad_names_are_explained(named: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        worker_environment(SOURCE, listed=True, named=named)


def test_libraries_start_as_many_threads_as_are_granted() -> None:
    environment = worker_environment({"NUMBA_NUM_THREADS": "3"}, granted=2)
    assert environment["OMP_NUM_THREADS"] == environment["PYTHON_CPU_COUNT"] == "2"
    assert environment["NUMBA_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS" not in worker_environment({})
