"""Values that are put under a name: found by other clients, on every kind of engine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import armoflow
from armoflow import Client, task
from armoflow.errors import DataLostError, ForeignReferenceError, NamedValueError, OptionError
from tests.integration.engines import Up


@task
def looked_up(word: str, table: dict[str, int]) -> int:
    return table[word]


@task(cache=True)
def kept(array: Any) -> float:
    return float(array.sum())


@task
def held(path: Any) -> bytes:
    return Path(path).read_bytes()


@pytest.fixture
def other(engine: Up) -> Iterator[Client]:
    with Client(engine.endpoint, workers=2) as connected:
        yield connected


@pytest.fixture
def name() -> str:
    return f"table {uuid.uuid4()}"


def test_another_client_gets_it_and_gives_it_to_tasks(
    client: Client, other: Client, name: str
) -> None:
    own = client.put({"whale": 1, "ship": 2}, name=name)
    assert client.compute(looked_up.map(["ship", "whale"], table=own)) == [2, 1]
    assert other.get(name) == {"whale": 1, "ship": 2}
    assert other.compute(looked_up("ship", other.refer(name))) == 2


def test_a_reference_is_one_clients_and_the_other_has_its_own(
    client: Client, other: Client, name: str
) -> None:
    own = client.put({"a": 1}, name=name)
    with Client(local=True) as local:
        for reference in (own, client.refer(name)):
            for foreign in (other, local):
                with pytest.raises(ForeignReferenceError, match=rf"take refer\('{name}'\) of the"):
                    foreign.compute(looked_up("a", reference))
    assert other.compute(looked_up("a", other.refer(name))) == 1


@pytest.mark.parametrize("replaced", [True, False])
def test_a_reference_to_what_is_no_more_names_it(
    client: Client, other: Client, name: str, replaced: bool
) -> None:
    old = client.put({"a": 1}, name=name)
    if replaced:
        other.put({"a": 2}, name=name, replace=True)
    else:
        other.forget(name)
    told = rf"stored as '{name}' was removed or replaced .* take client\.refer\('{name}'\) again"
    for graph in (looked_up("a", old), looked_up.map(["a", "a"], table=old)):
        with pytest.raises(DataLostError, match=told):
            client.compute(graph)
    with pytest.raises(DataLostError, match=told):
        client.compute(looked_up.options(cache=True)("a", old))
    with pytest.raises(DataLostError, match=told):
        client.explain(looked_up.options(cache=True)("a", old))
    with pytest.raises(DataLostError, match=told):
        client.submit(looked_up("a", old), name=f"run of {name}").result()


def test_nothing_stands_in_the_place_of_what_lost_its_input(
    client: Client, other: Client, name: str
) -> None:
    """It is no item that failed: the data of all of them is gone."""
    old = client.put({"a": 1}, name=name)
    other.forget(name)
    for instead in ("skip", -1):
        safe = looked_up.options(on_failure=instead)
        with pytest.raises(DataLostError, match=f"stored as '{name}' was removed"):
            client.compute(safe.map(["a", "b"], table=old))


def test_it_is_there_when_its_client_is_not(engine: Up, name: str) -> None:
    array = np.arange(500_000)
    with Client(engine.endpoint) as first:
        first.put(array, name=name)
    with Client(engine.endpoint) as second:
        assert np.array_equal(second.get(name), array)
        assert second.compute(kept(second.refer(name))) == array.sum()
        second.forget(name)


def test_an_interrupt_does_not_end_it(client: Client, name: str) -> None:
    reference = client.put({"a": 1}, name=name)
    client._backend.interrupt()
    assert client.compute(looked_up("a", reference)) == 1


def test_a_name_has_one_value(client: Client, other: Client, name: str) -> None:
    client.put(1, name=name)
    with pytest.raises(NamedValueError, match=r"is stored as .* already.*say replace=True"):
        other.put(2, name=name)
    assert other.get(name) == 1
    other.put(2, name=name, replace=True)
    assert client.get(name) == 2


def test_names_that_never_were_and_that_are_no_more(
    client: Client, other: Client, name: str
) -> None:
    client.put(1, name=f"{name}s")
    with pytest.raises(NamedValueError, match=f"was ever stored as .*did you mean '{name}s"):
        client.get(name)
    client.put(1, name=name)
    other.forget(name)
    for ask in (client.get, client.refer, client.forget):
        with pytest.raises(NamedValueError, match=r"is stored as .* any more"):
            ask(name)
    client.put(2, name=name)
    assert other.get(name) == 2


def test_files_can_be_put(client: Client, other: Client, name: str, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"data" * 500_000)
    client.put(armoflow.file(tmp_path / "data.bin"), name=name)
    assert other.compute(held(other.refer(name))) == b"data" * 500_000
    assert other.get(name).path.read_bytes() == b"data" * 500_000


def test_in_the_debug_mode_names_are_the_clients() -> None:
    with Client(local=True) as client:
        reference = client.put({"a": 1}, name="table")
        assert client.get("table") == {"a": 1}
        assert client.compute(looked_up("a", client.refer("table"))) == 1
        with pytest.raises(NamedValueError, match="replace=True"):
            client.put(2, name="table")
        client.put({"a": 2}, name="table", replace=True)
        assert client.compute([looked_up("a", reference), looked_up("a", client.refer("table"))])
        client.forget("table")
        with pytest.raises(NamedValueError, match="nothing is stored as 'table'"):
            client.get("table")


def test_what_cannot_be_a_name(client: Client) -> None:
    with pytest.raises(OptionError, match="name must be a text"):
        client.put(1, name="")
    lazy: Any = looked_up("a", {})
    for wrong in (lazy, [client.submit(looked_up, "a", {"a": 1})]):
        with pytest.raises(OptionError, match=r"write client\.compute\(lazy\), for futures"):
            client.get(wrong)
    with pytest.raises(OptionError, match="replace=True is for"):
        client.put(1, replace=True)
