"""What tasks and their children are run with: options of tasks, blocks and client, in one order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import armoflow
from armoflow import task
from armoflow.codec.bundle import read_payload
from armoflow.codec.payload import Payload
from armoflow.options import DEFAULT_OPTIONS, TaskOptions, merge_options
from armoflow.worker.runner import EngineTask
from tests.orchestrator.simulated import Simulation
from tests.orchestrator.steps import add, grown, inc, one_more, two_of

LEVELS = st.builds(
    TaskOptions,
    retries=st.none() | st.integers(0, 3),
    timeout=st.none() | st.sampled_from([50.0, 60.0]),
    partition=st.none() | st.sampled_from(["cpu", "gpu"]),
    priority=st.none() | st.integers(1, 3),
    batch_size=st.none() | st.integers(1, 2),
    max_retries=st.none() | st.integers(1, 2),
    fuse=st.none() | st.booleans(),
    keep=st.none() | st.booleans(),
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker")


def run(directory: Path, build: Callable[[], Any], client: TaskOptions) -> list[Payload]:
    """The payloads of all tasks that a graph, and the graphs that its tasks return, come to."""
    simulation = Simulation(directory, options=merge_options(client, DEFAULT_OPTIONS), inline=0)
    payloads: list[Payload] = []
    runner: Any = simulation.engine._runner
    plain = runner.run

    def recorded(run_task: EngineTask) -> Any:
        payloads.append(read_payload(bytes(run_task.payload), run_task.outputs))
        return plain(run_task)

    runner.run = recorded
    (outcomes,) = simulation.compute(build())
    assert [outcome.error for outcome in outcomes if outcome.error is not None] == []
    return payloads


def expected(*levels: TaskOptions | None) -> TaskOptions:
    return merge_options(*levels, DEFAULT_OPTIONS)


def check(payload: Payload, own: TaskOptions, defaults: TaskOptions) -> None:
    options = payload.settings
    for name in ("retries", "backoff", "timeout", "crash_retries", "priority", "partition"):
        assert getattr(options, name) == getattr(own, name), (payload.name, name)
    assert options.max_retries == own.max_retries
    assert expected(TaskOptions(**options.defaults)) == defaults, payload.name


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(own=LEVELS, block=LEVELS, client=LEVELS)
def test_children_have_the_options_of_the_block_and_the_client_and_not_their_parent_s(
    directory: Path, own: TaskOptions, block: TaskOptions, client: TaskOptions
) -> None:
    def build() -> Any:
        with armoflow.options(**block.given()):
            return task(grown, name="parent").with_options(**own.given())(1)

    first, *children = run(directory, build, client)
    defaults = expected(block, client)
    check(first, expected(own, block, client), defaults)
    assert {"two_of", "mapped"} <= {payload.name for payload in children}
    for payload in children:
        check(payload, defaults, defaults)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(inner=LEVELS, outer=LEVELS, client=LEVELS)
def test_a_map_over_a_value_keeps_the_blocks_of_each_of_its_steps(
    directory: Path, inner: TaskOptions, outer: TaskOptions, client: TaskOptions
) -> None:
    def build() -> Any:
        with armoflow.options(**inner.given()):
            mapped = task(one_more, name="mapped").map(two_of(1))
        with armoflow.options(**outer.given()):
            return mapped.reduce(task(add.function, name="reduced"))

    for payload in run(directory, build, client):
        if payload.name == "reduced" and payload.operation.name == "COMBINE":
            check(payload, expected(outer, client), expected(outer, client))
        elif payload.name in ("mapped", "two_of"):
            check(payload, expected(inner, client), expected(inner, client))


def test_the_batch_size_of_a_block_holds_in_a_map_over_a_value(directory: Path) -> None:
    def build() -> Any:
        with armoflow.options(batch_size=3):
            return inc.map(task(list, name="source")(range(9)))

    sizes = [p.count for p in run(directory, build, TaskOptions()) if p.name == "inc"]
    assert sizes == [3, 3, 3]


def test_calls_of_different_blocks_share_no_task(directory: Path) -> None:
    def build() -> Any:
        with armoflow.options(retries=1):
            first = inc(1)
        with armoflow.options(retries=2):
            return inc(first)

    first, second = run(directory, build, TaskOptions())
    assert (first.settings.retries, second.settings.retries) == (1, 2)
    same = run(directory, lambda: inc.with_options(retries=1)(inc(1)), TaskOptions(retries=1))
    assert [payload.names for payload in same] == [["inc", "inc"]]
