"""The debug mode: a graph run in the caller's thread, to step through it with pdb.

The rules are those of a real run (expansion, retries, errors, skipped items, arguments of one's
own), without engine or packing; timeouts are ignored.
"""

from __future__ import annotations

import copy
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from armoflow.client.local_arguments import ChangeWarnings
from armoflow.client.local_kinds import KINDS
from armoflow.client.local_machine import (
    ABSENT,
    END,
    FailedReference,
    FirstFailure,
    LocalAttempts,
    LocalCursor,
    LocalFailure,
    Root,
    drive,
    next_slot,
    raisable,
)
from armoflow.client.local_scope import Scope
from armoflow.codec.bare import looked, set_cause, set_traceback, traceback_of
from armoflow.codec.payload import Settings
from armoflow.codec.traces import drop_own_frames
from armoflow.errors import GraphError
from armoflow.graph.arguments import Reference, substitute
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.options import DEFAULT_OPTIONS, RETRIES, TaskOptions, current_block, merge_options
from armoflow.resources import Resources


@dataclass(frozen=True, slots=True)
class LocalOutcome:
    """How one value ended.

    Attributes:
        value: The value, if there is no exception.
        exception: The task's own exception; its ``__cause__`` says where it happened.
    """

    value: Any = None
    exception: BaseException | None = None

    def result(self) -> Any:
        """The value; raises the exception if there is one."""
        if self.exception is not None:
            raise self.exception
        return self.value


class LocalRunner:
    """Runs graphs here and now, depth first and lazily.

    Args:
        options: Options of the tasks that do not say otherwise.
        kinds: Types of other references in arguments: a client's futures, for example.
        resolve: The value of an instance of ``kinds``.
        sleep: Waits between attempts.

    Attributes:
        resources: What its tasks share.
        sleep: Waits between attempts.
        changes: Tells which arguments its tasks have changed in place.

    Example:
        >>> from armoflow.graph.task import task
        >>> double = task(lambda number: 2 * number)
        >>> LocalRunner().run(double(double(1)))
        LocalOutcome(value=4, exception=None)
    """

    def __init__(
        self,
        options: TaskOptions | None = None,
        *,
        kinds: Iterable[type] = (),
        resolve: Callable[[Any], Any] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._options = merge_options(options, DEFAULT_OPTIONS)
        self._kinds = tuple(kinds)
        self._resolve = resolve
        self.sleep = sleep
        self._warned = False
        self.resources = Resources()
        self.changes = ChangeWarnings()

    @overload
    def run(self, value: Delayed[Any]) -> LocalOutcome: ...
    @overload
    def run(self, value: DelayedList[Any]) -> list[LocalOutcome]: ...

    def run(self, value: Reference) -> LocalOutcome | list[LocalOutcome]:
        """Run the graph of one value.

        Returns:
            The outcome; of a ``DelayedList`` those of its items, absent ones left out.
        """
        return self.run_all([value])[0]

    def run_all(
        self, values: Sequence[Reference], *, fail_fast: bool = False
    ) -> list[LocalOutcome | list[LocalOutcome]]:
        """As :meth:`run`, for several values; what they share runs once.

        Args:
            values: What is asked for.
            fail_fast: Raise what the first call raises that fails; nothing more is run.
        """
        scope = Scope(values, self, self._defaults(), KINDS, eager=fail_fast)
        try:
            # What failed holds this frame by its traceback: that must not hold what failed.
            return _outcomes(values, [drive(scope.target(value)) for value in values])
        except FirstFailure as first:
            failed = _outcome(first.failure, set()).exception
            assert failed is not None
        try:
            raise failed
        finally:
            del failed

    def iterate(self, collection: DelayedList[Any]) -> Iterator[LocalOutcome]:
        """Run a collection, which may be endless, each item when its outcome is asked for."""
        cursor = Scope([collection], self, self._defaults(), KINDS).read(collection)
        return self._iterate(cursor)

    def _iterate(self, cursor: LocalCursor) -> Iterator[LocalOutcome]:
        delivered: set[int] = set()
        while (slot := drive(next_slot(cursor))) is not END:
            if slot is not ABSENT:
                yield _outcome(slot, delivered)

    def _defaults(self) -> TaskOptions:
        return merge_options(current_block(), self._options)

    def attempts(self, options: TaskOptions) -> LocalAttempts:
        """How often a task with these options is tried."""
        if (options.timeout or options.memory) and not self._warned:
            self._warned = True
            warnings.warn(
                "timeouts are ignored, and so are limits of memory, when tasks run in the caller's "
                "thread (local=True)",
                stacklevel=_users_frame(),
            )
        settings = Settings(
            retries=options.retries or RETRIES,
            backoff=options.backoff or 0.0,
            max_backoff=options.max_backoff,
            jitter=options.jitter or 0.0,
            env=dict(options.env or ()),
            requirements=list(options.requirements or ()),
        )
        return LocalAttempts(settings, options.retry_on, self.sleep)

    def insert(self, value: Any, values: dict[int, Any]) -> Any:
        """Put values, by the ids of their references, into arguments."""
        if not values and not self._kinds:
            return value

        def find(reference: Any) -> Any:
            if id(reference) in values:
                return values[id(reference)]
            if isinstance(reference, self._kinds) and self._resolve is not None:
                try:
                    return self._resolve(reference)
                except Exception as error:
                    root = Root.of_future(error, getattr(reference, "name", ""))
                    root.exception = _copy(error)  # the future's own keeps its cause
                    raise FailedReference(root) from error
            raise GraphError(f"{reference!r} was put into an argument after the call")

        return substitute(value, find, kinds=self._kinds)


def _outcomes(values: Sequence[Any], ended: Sequence[Any]) -> list[Any]:
    """How these have ended; only when all have: how many items an error skipped is known then."""
    delivered: set[int] = set()
    return [
        [_outcome(slot, delivered) for slot in end]
        if isinstance(value, DelayedList)
        else _outcome(end, delivered)
        for value, end in zip(values, ended, strict=True)
    ]


def _outcome(slot: Any, delivered: set[int]) -> LocalOutcome:
    if type(slot) is not LocalFailure:
        return LocalOutcome(slot)
    root = slot.root
    exception = raisable(root.exception)
    drop_own_frames(exception)
    if id(root) in delivered:  # each outcome has a path of its own
        exception = _copy(exception)
    delivered.add(id(root))
    set_cause(exception, slot.cause())
    return LocalOutcome(exception=exception)


def _copy(exception: BaseException) -> BaseException:
    # Not all exceptions can be rebuilt; then the outcomes share this one.
    copied = looked(lambda: copy.copy(exception), None)
    if copied is None or type(copied) is not type(exception):
        return exception
    set_traceback(copied, traceback_of(exception))
    return copied


def _users_frame() -> int:
    """How many frames above its caller the user's own code is, for a warning's stacklevel."""
    frame, level = sys._getframe(1), 1
    while frame.f_globals.get("__name__", "").partition(".")[0] == "armoflow" and frame.f_back:
        frame, level = frame.f_back, level + 1
    return level
