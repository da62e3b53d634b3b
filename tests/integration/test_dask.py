"""dask's collections, scheduled by armoflow."""

from __future__ import annotations

import os
import subprocess
import sys

import dask
import dask.array
import dask.bag
import pytest

from armoflow import Client
from armoflow.errors import OptionError, RemoteTraceback
from armoflow.integrations.dask import get


def slip(value: int) -> int:
    raise ValueError(f"slipped on {value}")


def here(value: object) -> int:
    return os.getpid()


def test_delayed_calls_run_on_the_workers(client: Client) -> None:
    doubled = [dask.delayed(abs)(-number) for number in range(20)]
    total = dask.delayed(sum)(doubled)
    place = dask.delayed(here)(total)
    assert dask.compute(total, doubled[3], scheduler=get, client=client) == (190, 3)
    assert place.compute(scheduler=get, client=client) != os.getpid()


def test_the_current_client_is_used(client: Client) -> None:
    with client, dask.config.set(scheduler=get):
        assert dask.delayed(sum)([1, 2, dask.delayed(abs)(-3)]).compute() == 6


def test_arrays_and_bags(client: Client) -> None:
    bag = dask.bag.from_sequence(range(100), npartitions=5).filter(lambda number: number % 2)
    array = dask.array.arange(10_000, chunks=1_000)
    options = {"scheduler": get, "client": client}
    assert bag.map(lambda number: number * number).sum().compute(**options) == 166_650
    assert bag.frequencies().count().compute(**options) == 50
    assert int((array @ array).compute(**options)) == 333_283_335_000
    assert array.reshape(100, 100).T.sum(axis=0).compute(**options).shape == (100,)


def test_dataframes(client: Client) -> None:
    pandas = pytest.importorskip("pandas")
    frames = pytest.importorskip("dask.dataframe")
    table = pandas.DataFrame({"letter": list("abcabc"), "number": range(6)})
    parts = frames.from_pandas(table, npartitions=3)
    sums = parts.groupby("letter").number.sum().compute(scheduler=get, client=client)
    assert dict(sums) == {"a": 3, "b": 5, "c": 7}


def test_values_that_need_no_task() -> None:
    assert get({"a": 1, "b": "a", "c": len}, [["a", "b"], ["c"]]) == ((1, 1), (len,))


def test_a_graph_as_dask_wrote_them_once(client: Client) -> None:
    graph = {"x": 1, "y": (abs, -2), "z": (sum, ["x", "y", (abs, -3)])}
    assert get(graph, ["z", "y"], client=client) == (6, 2)
    assert get(graph, "z", client=client) == 6


def test_an_error_is_what_the_task_raised_and_says_where(client: Client) -> None:
    chain = dask.delayed(abs)(dask.delayed(slip)(7))
    with pytest.raises(ValueError, match="slipped on 7") as raised:
        chain.compute(scheduler=get, client=client)
    cause = raised.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert cause.node.startswith("slip")


def test_options_are_keywords_and_annotations(client: Client) -> None:
    with dask.annotate(retries=2):
        annotated = dask.delayed(slip)(1)
    plain = dask.delayed(slip)(1)
    for lazy, given, attempts in [(annotated, {}, 3), (plain, {"retries": 1}, 2), (plain, {}, 1)]:
        with pytest.raises(ValueError, match="slipped") as raised:
            lazy.compute(scheduler=get, client=client, backoff=0, optimize_graph=False, **given)
        assert isinstance(raised.value.__cause__, RemoteTraceback)
        assert raised.value.__cause__.attempts == attempts


def test_an_unknown_keyword_names_the_nearest_option() -> None:
    with pytest.raises(OptionError, match="did you mean 'retries'"):
        get({"a": 1}, "a", retrys=1)


@pytest.mark.parametrize("extra", ["dask", "joblib"])
def test_a_missing_package_is_told_with_the_extra_that_has_it(extra: str) -> None:
    script = f"""
import sys
sys.modules[{extra!r}] = None
from armoflow.errors import MissingPackageError
try:
    import armoflow.integrations.{extra}
except MissingPackageError as error:
    print(error)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"pip install 'armoflow[{extra}]'" in done.stdout


def test_a_client_that_is_none_is_named() -> None:
    with pytest.raises(OptionError, match="client must be a Client, not 3: leave it out"):
        get({"x": 1}, "x", client=3)  # type: ignore[arg-type]
