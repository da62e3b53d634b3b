"""What follows from the options of a node: worked out once for all nodes that share them."""

from __future__ import annotations

import bisect
import dataclasses
import math
from typing import Any

from armoflow import config
from armoflow.codec.payload import Settings
from armoflow.codec.pickling import dumps_whole
from armoflow.errors import MemoryLimitError, SerializationError, TaskTimeoutError
from armoflow.graph.nodes import Node
from armoflow.options import (
    BACKOFF,
    CRASH_RETRIES,
    DEFAULT_OPTIONS,
    PRIORITY,
    RETRIES,
    TaskOptions,
    cache_policy,
    check_skipping,
    inherited_options,
    merge_options,
)
from armoflow.orchestrator.planning import dynamic
from armoflow.placement import Limits
from armoflow.protocol.submission import WireOptions
from armoflow.retrying import retries_error

KEPT_RULES = 10_000
"""Sets of options whose rules are kept between plans."""


_LONGEST_PAUSES = config.MAXIMUM_DURATION - config.DURATION_MARGIN
"""Seconds that all pauses of a task may take."""

_PLAIN = (int, float, str)
"""Values of options that are written into payloads as they are; others are pickled."""


class Rules:
    """What follows from a node's options, worked out once for all nodes that share them.

    Args:
        own: The node's options.
        block: What the blocks around the call say, for the graph that its task may return.
        base: What holds in the plan for tasks that do not say otherwise.
        capture: Failures become error slots.
        name: Names the task.
        limits: What it may ask for, if that is known.
        caching: Values may be kept for later runs.

    Raises:
        SubmissionError: If it asks for more.
    """

    __slots__ = (
        *("backup", "batch_size", "cached", "defaults", "fuse", "keep", "options", "packed"),
        *("replaces", "single", "wire"),
    )

    def __init__(
        self,
        own: TaskOptions,
        block: TaskOptions | None,
        base: TaskOptions,
        capture: bool,
        *,
        name: str = "",
        limits: Limits | None = None,
        caching: bool = False,
    ) -> None:
        self.options = options = merge_options(own, base)
        check_skipping(own, base)
        usual = DEFAULT_OPTIONS.given()
        inherited = inherited_options(block, base).given()
        self.defaults = {
            name: value if isinstance(value, _PLAIN) else _pickled(name, value)
            for name, value in inherited.items()
            if usual.get(name) != value
        }
        self.cached = caching and options.cache is not None and cache_policy(options).enabled
        self.keep = bool(options.keep)
        self.fuse = options.fuse is not False and not self.keep
        self.backup = bool(options.backup)
        self.batch_size = options.batch_size
        self.replaces = options.replaces
        self.single = Settings(
            retries=options.retries or RETRIES,
            backoff=BACKOFF if options.backoff is None else options.backoff,
            timeout=options.timeout,
            crash_retries=CRASH_RETRIES if options.crash_retries is None else options.crash_retries,
            capture=capture,
            priority=options.priority,
            partition=options.partition if limits is None else limits.place(name, options),
            max_retries=options.max_retries,
            defaults=self.defaults,
            on_failure=_pickled("on_failure", options.on_failure.value) if self.replaces else None,
            max_backoff=options.max_backoff,
            jitter=options.jitter or 0.0,
            retry_on=_pickled("retry_on", options.retry_on) if options.retry_on else None,
            retry_timeouts=retries_error(options.retry_on, TaskTimeoutError),
            options=dict(options.options or ()),
            cpus=options.cpus,
            memory=options.memory,
            gpus=options.gpus,
            limits=dict(options.limits or ()),
            retry_memory=retries_error(options.retry_on, MemoryLimitError),
            env=dict(options.env or ()),
            requirements=list(options.requirements or ()),
        )
        if self.single.pauses > _LONGEST_PAUSES:
            self.single.retries = _affordable_retries(self.single)
        self.packed = dataclasses.replace(self.single, packed=True)
        self.wire = wire_options(self.single, 1)

    def wire_for(self, items: int) -> WireOptions:
        """The ArmoniK options of a task of so many items, those of all steps together."""
        alike = self.single.timeout is None or items == 1
        return self.wire if alike else wire_options(self.single, items)


class RuleBook:
    """The rules of all nodes of plans with the same settings.

    Args:
        base: What holds where a task says nothing.
        capture: Failures become error slots.
        limits: What tasks may ask for, if that is known.
        caching: Values may be kept for later runs.
    """

    def __init__(
        self, base: TaskOptions, capture: bool, limits: Limits | None, *, caching: bool = False
    ) -> None:
        self._base = base
        self._capture = capture
        self._caching = caching
        self._limits = limits
        # By the ids of a node's options and block, which are held so that ids stay their own.
        self._rules: dict[tuple[int, int], tuple[TaskOptions, TaskOptions | None, Rules]] = {}

    def of(self, node: Node) -> Rules:
        """What follows from a node's options.

        Raises:
            SubmissionError: If they ask for what the session does not allow.
        """
        own, block = node.options, node.block
        if block is not None and dynamic.is_dynamic(node):
            block = None  # its description says which calls were made in which block
        key = (id(own), id(block))
        known = self._rules.get(key)
        if known is None:
            if len(self._rules) >= KEPT_RULES:
                self._rules.clear()
            limits = self._limits
            if limits is not None:
                limits.check(node.name, merge_options(own, self._base))
            rules = Rules(
                *(own, block, self._base, self._capture),
                name=node.name,
                limits=limits,
                caching=self._caching,
            )
            known = self._rules[key] = (own, block, rules)
        return known[2]


def _pickled(name: str, value: Any) -> bytes:
    try:
        return dumps_whole(value)
    except SerializationError as error:
        raise SerializationError(f"{name}={value!r}: {error}") from error.__cause__


def _affordable_retries(settings: Settings) -> int:
    """How many retries have their pauses in the time that a task may take at most.

    With one more the task would be ended while it waits, and nobody would see its last error.
    """

    def pauses(retries: int) -> float:
        return dataclasses.replace(settings, retries=retries).pauses

    return bisect.bisect_right(range(settings.retries), _LONGEST_PAUSES, key=pauses) - 1


def wire_options(settings: Settings, items: int) -> WireOptions:
    """The ArmoniK options of a task of so many items, those of all steps together."""
    return WireOptions(
        max_duration=_max_duration(settings, items),
        max_retries=settings.engine_retries,
        priority=settings.priority or PRIORITY,
        partition=settings.partition or "",
        labels=tuple(settings.labels.items()),
    )


def longest(settings: Settings) -> float:
    """Seconds that an item may take: every attempt, and the waits between."""
    if settings.timeout is None:
        return math.inf
    attempts = settings.retries + settings.crash_retries + 1
    return attempts * settings.timeout + settings.pauses


def _max_duration(settings: Settings, items: int) -> float:
    """Longest that ``Process`` may take: every item, and one of the graph that it may return."""
    total = longest(settings) * (items + 1) + config.DURATION_MARGIN
    if settings.requirements:
        total += config.INSTALL_SECONDS
    return math.ceil(total) if total < config.MAXIMUM_DURATION else config.MAXIMUM_DURATION
