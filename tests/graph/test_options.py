"""Options of several levels become one, in one place."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import armoflow
from armoflow import items, task
from armoflow.errors import OptionError
from armoflow.options import (
    OPTION_NAMES,
    TaskOptions,
    as_block,
    current_block,
    make_options,
    merge_options,
)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "retries": st.integers(0, 3),
    "backoff": st.floats(0, 1),
    "max_backoff": st.floats(0, 1),
    "jitter": st.floats(0, 1),
    "retry_on": st.sampled_from([(OSError,), (ValueError, KeyError), callable]),
    "timeout": st.floats(1, 2),
    "crash_retries": st.integers(0, 3),
    "cpus": st.integers(1, 9),
    "memory": st.integers(2**26, 2**40),
    "gpus": st.integers(0, 2),
    "backup": st.booleans(),
    "limits": st.dictionaries(st.sampled_from(["licence", "disk"]), st.integers(1, 9), min_size=1),
    "partition": st.sampled_from(["cpu", "gpu"]),
    "priority": st.integers(1, 9),
    "batch_size": st.integers(1, 9),
    "max_retries": st.integers(0, 3),
    "keep": st.booleans(),
    "fuse": st.booleans(),
    "cache": st.booleans() | st.sampled_from(["inputs", "code + inputs"]),
    "version": st.sampled_from(["1", 2]),
    "ignore": st.just(("number",)),
    "expires": st.floats(1, 2),
    "on_failure": st.sampled_from(["raise", "skip", 0, False, 0.0]),
    "min_success": st.floats(0, 1),
    "options": st.sampled_from([(("k", "v"),), (("a", "1"), ("b", "2"))]),
    "env": st.sampled_from([(), (("A", "1"),), (("A", "2"), ("B", "2"))]),
    "requirements": st.sampled_from([(), ("numpy>=2",), ("numpy", "polars")]),
}
LEVELS = st.builds(TaskOptions, **{name: st.none() | values for name, values in VALUES.items()})


@task
def double(number: int) -> int:
    return 2 * number


def test_every_option_has_values_to_test_with() -> None:
    assert set(VALUES) == set(OPTION_NAMES)


@given(st.lists(st.none() | LEVELS, max_size=5))
def test_the_first_level_that_says_something_wins(levels: list[TaskOptions | None]) -> None:
    merged = merge_options(*levels)
    for name in OPTION_NAMES:
        said = [getattr(level, name) for level in levels if level is not None]
        first = next((value for value in said if value is not None), None)
        if name == "env" and first is not None:  # of each variable
            first = tuple(sorted({k: v for pairs in said[::-1] for k, v in pairs or ()}.items()))
        assert getattr(merged, name) == first


@given(LEVELS, LEVELS, LEVELS)
def test_levels_may_be_merged_in_any_grouping(
    first: TaskOptions, second: TaskOptions, third: TaskOptions
) -> None:
    whole = merge_options(first, second, third)
    assert merge_options(merge_options(first, second), third) == whole
    assert merge_options(first, merge_options(second, third)) == whole
    assert merge_options(TaskOptions(), whole, None) == merge_options(whole, whole) == whole
    assert merge_options(merge_options(first, second), third) == whole


@given(LEVELS)
def test_what_is_given_makes_the_same_options(options: TaskOptions) -> None:
    assert make_options(options.given()) == options


@given(LEVELS, st.lists(LEVELS, max_size=3))
def test_a_call_within_blocks_has_the_options_of_its_task_and_then_of_the_inner_blocks(
    own: TaskOptions, blocks: list[TaskOptions]
) -> None:
    def build(rest: list[TaskOptions]) -> Any:
        if not rest:
            return double.with_options(**own.given())(1)
        with armoflow.options(**rest[0].given()):
            return build(rest[1:])

    node = build(blocks).node
    assert node.options == merge_options(own, *reversed(blocks))
    assert (node.block or TaskOptions()) == merge_options(*reversed(blocks))
    assert current_block() is None


def test_all_operations_of_a_block_have_its_options_and_names_of_items_those_of_their_task() -> (
    None
):
    outside = double.map([1, 2, 3])
    with armoflow.options(retries=2):
        source = items([1, 2])
        nodes = [
            double(1).node,
            double.map([1]).node,
            source.filter(double).node,
            source.reduce(max).node,
            source.fold(max).node,
            source.gather().node,
            source.zip([1, 2]).node,
        ]
        names = [outside[0].node, outside[:2].node]
    assert {node.options.retries for node in nodes} == {2}
    assert {node.options.retries for node in names} == {None}
    assert {node.block for node in names} == {None}


def test_equal_blocks_give_the_same_options_so_that_their_calls_are_packed() -> None:
    nodes = []
    for _ in range(2):
        with armoflow.options(retries=2):
            nodes.append(double(1).node)
    assert nodes[0].options is nodes[1].options
    assert nodes[0].block is nodes[1].block


def test_a_block_ends_with_an_error_and_is_not_seen_by_other_threads() -> None:
    seen: list[TaskOptions | None] = []
    with pytest.raises(ZeroDivisionError), armoflow.options(retries=2):
        thread = threading.Thread(target=lambda: seen.append(current_block()))
        thread.start()
        thread.join()
        1 / 0  # noqa: B018
    assert seen == [None]
    assert current_block() is None


def test_what_is_called_as_in_a_block_is_in_no_other() -> None:
    with armoflow.options(retries=2, priority=3):
        with as_block(TaskOptions(retries=1)):
            assert double(1).node.options == TaskOptions(retries=1)
        with as_block(None):
            assert double(1).node.block is None
        assert double(1).node.options == TaskOptions(retries=2, priority=3)


def test_a_block_with_a_wrong_option_is_not_entered() -> None:
    wrong: Any = {"retrys": 2}
    with pytest.raises(OptionError, match="did you mean 'retries'"), armoflow.options(**wrong):
        raise AssertionError
    wrong = {"priority": 0}
    with pytest.raises(OptionError, match="from 1 to 99, not 0"), armoflow.options(**wrong):
        raise AssertionError


COUNTS = ["retries", "crash_retries", "priority", "batch_size", "max_retries", "cpus", "gpus"]
SECONDS = ["timeout", "backoff", "max_backoff"]
SHARES = ["jitter", "min_success"]


@pytest.mark.parametrize("name", [*COUNTS, *SECONDS, *SHARES])
@pytest.mark.parametrize("value", [10**30, -1, True, float("nan"), float("inf"), "9"])
def test_an_option_that_is_a_number_is_refused_where_nothing_could_hold_it(
    name: str, value: Any
) -> None:
    with pytest.raises(OptionError, match=f"^{name} must be an? .*, not "):
        make_options({name: value})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("retries", 10**9 + 1, "retries must be an integer from 0 to 1000000000, not 1000000001"),
        pytest.param("retries", 2**20000, "not an int of 20001 bits", id="digits"),
        ("limits", {"a\n": 1}, r"limits names 'a\\n': a name is printable, and neither begins nor"),
        ("limits", {"a": 10**30}, r"limits\['a'\] must be an integer from 1 to 1000000000, not 10"),
        ("timeout", 1e10, r"up to 604800, not 10000000000\.0: no .* week; leave the timeout out"),
        ("timeout", 0, "timeout must be a positive number of seconds, up to 604800, not 0$"),
        ("backoff", 700_000, "up to 86400, not 700000: pauses are a day at most, for a task has"),
        ("memory", 10**30, "memory must be at most 1024 TiB, not "),
        ("limits", (1, 2), r"limits must be a dict .*, not \(1, 2\)"),
        ("env", (1, 2), r"env must be a dict of texts, not \(1, 2\)"),
        ("env", {"A": "\ud800"}, r"env\['A'\] is '\\ud800', which cannot be written as UTF-8"),
        (
            "options",
            {"\ud800": ""},
            r"options\['\\ud800'\] is '', which cannot be written as UTF-8",
        ),
        (
            "version",
            "\ud800",
            r"version must be a text that can be written as UTF-8, not '\\ud800'",
        ),
        ("requirements", {"a": 1}, r"requirements must be a list of texts .*, not {'a': 1}"),
    ],
)
def test_what_is_told_of_a_number_names_the_option_the_value_and_what_to_do(
    name: str, value: Any, told: str
) -> None:
    with pytest.raises(OptionError, match=told):
        make_options({name: value})


def test_the_same_words_are_one_object_and_equal_values_of_another_type_are_not() -> None:
    first = make_options({"retries": 1, "timeout": 1.0})
    assert make_options({"retries": 1, "timeout": 1.0}) is first
    assert type(make_options({"retries": 1, "timeout": 1}).timeout) is int
    with pytest.raises(OptionError, match="retries"):
        make_options({"retries": True})
    assert str(make_options({"on_failure": 0.0}).on_failure.value) == "0.0"
    assert str(make_options({"on_failure": -0.0}).on_failure.value) == "-0.0"
