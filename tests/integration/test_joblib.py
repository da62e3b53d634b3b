"""joblib's calls, and scikit-learn's through it, on armoflow."""

from __future__ import annotations

import asyncio
import os
import pickle
from typing import Any

import joblib
import pytest

import armoflow.integrations.joblib
from armoflow import Client, current_task
from armoflow.errors import OptionError, RemoteTraceback

assert armoflow.integrations.joblib


def slip(value: int) -> int:
    raise ValueError(f"slipped on {value}")


def here(number: int) -> int:
    return os.getpid()


def total(array: Any, number: int) -> float:
    return float(array.sum()) + number


def squares(count: int) -> list[int]:
    return joblib.Parallel(n_jobs=2)(joblib.delayed(pow)(n, 2) for n in range(count))


def nested(count: int) -> list[int]:
    calls = (joblib.delayed(pow)(n, 2) for n in range(count))
    return joblib.Parallel(n_jobs=2, backend="armoflow")(calls)


def test_calls_run_on_the_workers_of_the_current_client(client: Client) -> None:
    with client, joblib.parallel_config("armoflow"):
        found = joblib.Parallel()(joblib.delayed(here)(number) for number in range(20))
    assert len(found) == 20
    assert os.getpid() not in found


def test_calls_in_a_running_loop_come_back(client: Client) -> None:
    """As in a notebook, whose loop stands still meanwhile."""

    async def cell() -> list[int]:
        values: list[int] = joblib.Parallel()(joblib.delayed(pow)(base, 2) for base in range(4))
        return values

    with joblib.parallel_config("armoflow", n_jobs=2):
        assert asyncio.run(cell()) == [0, 1, 4, 9]


def test_a_client_may_be_named(client: Client) -> None:
    with joblib.parallel_config("armoflow", client=client):
        assert joblib.effective_n_jobs(-1) == client.workers == 2
        assert squares(5) == [0, 1, 4, 9, 16]


def test_a_large_argument_that_comes_again_is_stored_once(client: Client) -> None:
    numpy = pytest.importorskip("numpy")
    array = Counted(numpy.ones(200_000))
    with joblib.parallel_config("armoflow", client=client):
        calls = (joblib.delayed(total)(array, number) for number in range(12))
        assert joblib.Parallel(batch_size=1)(calls) == [200_000 + number for number in range(12)]
    assert array.pickled <= 3  # the first one travels with its call


class Counted:
    """An array that counts how often it is pickled."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.nbytes = array.nbytes
        self.pickled = 0

    def sum(self) -> float:
        return float(self.array.sum())

    def __reduce__(self) -> Any:
        self.pickled += 1
        return Counted, (self.array,)


def test_an_error_is_what_the_call_raised(client: Client) -> None:
    with (
        joblib.parallel_config("armoflow", client=client, retries=1, backoff=0),
        pytest.raises(ValueError, match="slipped on 3") as raised,
    ):
        joblib.Parallel()(joblib.delayed(slip)(number) for number in (3,))
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert raised.value.__cause__.attempts == 2


def test_calls_inside_of_calls(client: Client) -> None:
    with joblib.parallel_config("armoflow", client=client):
        for function in (squares, nested):
            calls = (joblib.delayed(function)(count) for count in (2, 3))
            assert joblib.Parallel()(calls) == [[0, 1], [0, 1, 4]]


def test_values_as_they_come(client: Client) -> None:
    with joblib.parallel_config("armoflow", client=client):
        calls = (joblib.delayed(abs)(-number) for number in range(30))
        found = joblib.Parallel(return_as="generator_unordered")(calls)
        assert sorted(found) == list(range(30))


def attempts(number: int) -> int:
    attempt = current_task().attempt
    if attempt == 1:
        raise ValueError("the first attempt")
    return attempt


def test_options_of_one_parallel_are_not_those_of_the_next(client: Client) -> None:
    calls = [joblib.delayed(attempts)(1)]
    with joblib.parallel_config("armoflow", client=client, backoff=0):
        assert joblib.Parallel(retries=1)(calls) == [2]
        with pytest.raises(ValueError, match="the first attempt"):
            joblib.Parallel()(calls)


def test_an_unknown_argument_names_the_nearest_option(client: Client) -> None:
    with pytest.raises(OptionError, match="did you mean 'retries'"):
        joblib.parallel_config("armoflow", client=client, retrys=1)
    with pytest.raises(OptionError, match="initializer"):
        joblib.Parallel(n_jobs=2, backend="armoflow", initializer=print)([])


def test_scikit_learn_searches_a_grid(client: Client) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    table, labels = datasets.make_classification(n_samples=300, n_features=40, random_state=0)
    search = GridSearchCV(SVC(), {"C": [0.1, 1, 10]}, cv=3, n_jobs=-1)
    here = pickle.loads(pickle.dumps(search)).set_params(n_jobs=1).fit(table, labels)
    with joblib.parallel_config("armoflow", client=client):
        search.fit(table, labels)
    assert search.best_params_ == here.best_params_
    assert list(search.cv_results_["mean_test_score"]) == list(here.cv_results_["mean_test_score"])


def test_what_prepares_the_processes_of_a_pool_has_another_name() -> None:
    with pytest.raises(OptionError, match=r"initializer prepares .* @armoflow\.worker_resource"):
        armoflow.integrations.joblib.ArmoflowBackend(initializer=print)
