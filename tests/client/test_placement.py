"""Which partition a task runs in, by what it wants and what a table says they offer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from armoflow import Client
from armoflow.errors import OptionError, SubmissionError
from armoflow.offers import make_offers, offers_of, read_offers
from armoflow.options import TaskOptions
from armoflow.placement import OFFERS_VARIABLE, Limits, Offer

GIB = 1024**3
TABLE = {
    "small": {"cpus": 2, "memory": "4GiB"},
    "large": {"cpus": 16, "memory": "64GiB"},
    "gpu": {"cpus": 8, "memory": "32GiB", "gpus": 2},
}
LIMITS = Limits(("default", *TABLE), 10, make_offers(TABLE))


@pytest.mark.parametrize(
    ("wanted", "partition"),
    [
        ({}, None),
        ({"cpus": 1}, "small"),
        ({"cpus": 3}, "large"),
        ({"memory": "5GiB"}, "large"),  # and not "gpu", though that is smaller otherwise
        ({"gpus": 1}, "gpu"),
        ({"gpus": 0, "memory": "1GiB"}, "small"),
        ({"cpus": 1, "partition": "large"}, "large"),
        ({"cpus": 99, "partition": "default"}, "default"),  # of which nothing is known
    ],
)
def test_the_smallest_that_has_what_is_wanted(
    wanted: dict[str, Any], partition: str | None
) -> None:
    assert LIMITS.place("f", TaskOptions(**wanted)) == partition


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"gpus": 3}, "task 'f' asks for gpus=3, which no partition has: 'small' offers cpus=2, "),
        ({"cpus": 8, "memory": "60GiB", "gpus": 1}, "cpus=8, memory=60 GiB, gpus=1"),
        (
            {"cpus": 4, "partition": "small"},
            "no partition has: 'small' offers cpus=2, memory=4 GiB, gpus=0. Ask",
        ),
    ],
)
def test_what_none_has_is_refused_with_task_wanted_and_offered(
    wanted: dict[str, Any], told: str
) -> None:
    with pytest.raises(SubmissionError) as refused:
        LIMITS.check("f", TaskOptions(**wanted))
    assert told in str(refused.value)


def test_where_nothing_is_known_only_what_must_be_known_is_refused() -> None:
    unknown = Limits(("default",), 10)
    assert unknown.place("f", TaskOptions(cpus=99, memory=99 * GIB)) is None
    with pytest.raises(SubmissionError, match="asks for gpus=1, and nothing says which"):
        unknown.place("f", TaskOptions(gpus=1))
    assert unknown.place("f", TaskOptions(gpus=1, partition="default")) == "default"


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ([], "partitions must be a dict such as"),
        ({"gpu": 1}, "partitions must give for each partition's name what it has, not 'gpu': 1"),
        ({"a b": {"gpus": 1}}, "partitions: 'a b' is no name of a partition: write letters"),
        ({1: {"gpus": 1}}, "partitions: 1 is no name of a partition"),
        ({"gpu": {"cpu": 1}}, r"partitions\['gpu'\] names 'cpu': known are cpus, memory, gpus"),
        ({"gpu": {"cpus": 0}}, r"partitions\['gpu'\]\['cpus'\] must be an integer from 1 on"),
        ({"gpu": {"memory": "much"}}, r"partitions\['gpu'\]\['memory'\] must be a number of bytes"),
    ],
)
def test_a_table_is_checked_where_it_is_written(table: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        Client(local=True, partitions=table)


def test_a_file_says_it_for_engines_that_have_such_partitions(tmp_path: Path) -> None:
    file = tmp_path / "partitions.yaml"
    file.write_text("gpu: {cpus: 8, memory: 32 GiB, gpus: 2}\nelsewhere: {cpus: 4}\n")
    said = read_offers({OFFERS_VARIABLE: str(file)})
    assert offers_of((), said, ["default", "gpu"]) == (Offer("gpu", 8, 32 * GIB, 2),)
    assert offers_of(make_offers({"default": {}}), said, ["default"]) == (Offer("default"),)
    with pytest.raises(OptionError, match="partitions names 'gpu', which this engine does not"):
        offers_of(make_offers(TABLE)[2:], (), ["default"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        ("[1", "is not YAML"),
        ("1", "must be a dict"),
        ("default: {cpus: x}", ": 'default', cpus must be an integer from 1 on"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, content: str | None, told: str) -> None:
    file = tmp_path / "partitions.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(OptionError, match=f"partitions.yaml.*{OFFERS_VARIABLE}.*{told}"):
        read_offers({OFFERS_VARIABLE: str(file)})


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"cpus": 0}, "cpus must be an integer from 1 to 1000000000, not 0"),
        ({"cpus": 1.5}, "cpus must be an integer from 1 to 1000000000, not 1.5"),
        ({"gpus": -1}, "gpus must be an integer from 0"),
        ({"memory": 10**400}, "memory must be at most .*, not more than 1024 TiB"),
        ({"memory": "1 MiB"}, "memory must be at least 64 MiB, not '1 MiB'"),
        ({"memory": "plenty"}, "memory must be a number of bytes, text such as"),
    ],
)
def test_options_are_checked_where_they_are_written(option: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        TaskOptions(**option)
