"""What the fuzz suites share: junk, mutations, and what a healthy engine can do."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from armoflow.engine.core import Engine
from armoflow.engine.records import ApiOptions, NewResult, NewTask
from armoflow.engine.services.convert import (
    options_to_message,
    result_to_message,
    session_to_message,
    task_to_detailed,
    task_to_summary,
)

PATIENCE = 60.0

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""Examples of each suite, if given: ``make fuzz`` asks for many."""


def fuzzed(examples: int) -> Any:
    """Settings of a suite: always the same examples, fewer than ``make fuzz`` has."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


NASTY = [
    *("", ".", "..", "../..", "a/b", "/etc/passwd", "\0", "a\0b", "a\nb", "\n", "~", "~1"),
    *("x" * 201, "x" * 20_000, "\U0001f600" * 60, "\x7f", "'; DROP TABLE tasks; --", "%s", "*"),
    "\u2028",
]
"""Texts that mean something to file systems, databases or formats."""

texts = st.sampled_from(NASTY) | st.text(max_size=8)
integers = st.sampled_from(
    [0, 1, -1, 2**31 - 1, -(2**31), 2**31, 2**53, 2**63 - 1, -(2**63), 2**63, 2**64 - 1]
) | st.integers(-5, 20)
floats = st.sampled_from(
    [float("nan"), float("inf"), -float("inf"), 1e300, -1e300, 5e-324, 0.5, -0.0]
)
scalars = st.none() | st.booleans() | integers | floats | texts | st.binary(max_size=8)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def mutated(draw: Any, valid: Any) -> Any:
    """A value with up to three of its parts replaced, removed or repeated."""
    value = copy.deepcopy(valid)
    for _ in range(draw(st.integers(0, 3))):
        value = _mutate(draw, value)
    return value


def _mutate(draw: Any, value: Any) -> Any:
    if not isinstance(value, (list, dict)) or not value or draw(st.integers(0, 3)) == 0:
        return draw(junk)
    if isinstance(value, dict):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: _mutate(draw, value[key])}
    place = draw(st.integers(0, len(value) - 1))
    kind = draw(st.integers(0, 6))
    if kind == 0:
        return value[:place] + value[place + 1 :]
    if kind == 1:
        return [*value, value[place]]
    return [*value[:place], _mutate(draw, value[place]), *value[place + 1 :]]


def in_a_loop(work: Callable[[Callable[[Any], Any]], None]) -> None:
    """Do work that is given a function to run coroutines with, all in one event loop."""
    loop = asyncio.new_event_loop()
    try:
        work(lambda coroutine: loop.run_until_complete(asyncio.wait_for(coroutine, PATIENCE)))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def assert_healthy(engine: Engine) -> None:
    """A session, a task and its data are taken and found; all that is there can be listed."""
    assert not engine.failed.done(), engine.failed.exception()
    session, task, payload = engine.new_id(), engine.new_id(), engine.new_id()
    options = ApiOptions(max_duration=60.0, max_retries=1, priority=1)
    engine.apply(engine.state.create_session(engine.now(), session, options, ()))
    stored = [(payload, engine.objects.put(b"data"))]
    results = [NewResult(payload, "payload")]
    new = [NewTask(task, payload, (), ())]
    await engine.apply(engine.state.submit_with_data(engine.now(), session, results, new, stored))
    assert (await engine.read_task(task)) is not None
    await assert_listed(engine)
    await engine.apply(engine.state.delete_session(engine.now(), session))


async def assert_listed(engine: Engine) -> None:
    """All that was accepted can be read back and shown."""
    show: list[tuple[Any, Callable[[Any], Any]]] = [
        (engine.queries.sessions, session_to_message),
        (engine.queries.tasks, task_to_detailed),
        (engine.queries.tasks, task_to_summary),
        (engine.queries.results, result_to_message),
    ]
    for query, to_message in show:
        page = await query(page_size=100_000)
        assert len(page.items) == page.total
        for record in page.items:
            to_message(record).SerializeToString()
            if hasattr(record, "options"):
                options_to_message(record.options)
