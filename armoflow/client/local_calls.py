"""One call in the debug mode: tried as often as its options say, and what stands for its value."""

from __future__ import annotations

import bdb
import inspect
import itertools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

from armoflow.client.call_spans import local_span
from armoflow.client.local_arguments import GivenArguments, OwnArguments
from armoflow.client.local_current import LocalCheckpoint, LocalPlace, local_task
from armoflow.client.local_machine import (
    ABSENT,
    Evaluation,
    FailedReference,
    FirstFailure,
    LocalAttempts,
    LocalFailure,
    LocalRules,
    fail,
    first_failure,
    raisable,
)
from armoflow.client.surroundings import Surrounded, check_installed
from armoflow.codec.bare import looked, set_cause, set_traceback
from armoflow.errors import GraphError, RequirementsError, SerializationError
from armoflow.fallback import lazy_fallback
from armoflow.graph.arguments import Reference, contains_lazy, find_dependencies
from armoflow.graph.context import INSIDE_TASK, current_client
from armoflow.graph.nodes import CallNode, FilterNode, FoldNode, MapNode, Node, ReduceNode
from armoflow.interrupts import is_interrupt
from armoflow.options import TaskOptions, as_block, inherited_options, merge_options
from armoflow.retrying import final_error
from armoflow.running import running
from armoflow.system.coroutines import as_plain
from armoflow.tracing import Labels
from armoflow.worker.job import split_outputs

NOTHING_SHARED: Final[Mapping[str, Any]] = {}


class ReturnedGraph(Protocol):
    """A graph that a task has returned."""

    @property
    def targets(self) -> Sequence[Reference]:
        """What is needed of it."""

    def value(self, reference: Reference) -> Evaluation:
        """The value of a reference, or its failure."""


class LocalCalls:
    """The calls of one graph.

    Args:
        rules: How they are run.
        defaults: Options of the tasks that say nothing.
        open_scope: What runs a graph that a task has returned, with defaults of its own, in the
            trace of that task.
        eager: The first call that fails ends all.
        trace: That of the task which returned the graph.

    Attributes:
        changes: Tells which arguments tasks have changed in place.
    """

    def __init__(
        self,
        rules: LocalRules,
        defaults: TaskOptions,
        open_scope: Callable[[Any, TaskOptions, Labels], ReturnedGraph],
        *,
        eager: bool,
        trace: Labels,
    ) -> None:
        self._rules = rules
        self._defaults = defaults
        self._open = open_scope
        self._eager = eager
        self._trace = trace
        self.changes = rules.changes

    def attempts(self, node: Node) -> LocalAttempts:
        """How a node's calls are tried."""
        return self._rules.attempts(merge_options(node.options, self._defaults))

    def run(
        self,
        node: Node,
        name: str,
        call: Callable[..., Any],
        attempts: LocalAttempts,
        arguments: Callable[[], GivenArguments],
        *,
        shared: Mapping[str, Any] = NOTHING_SHARED,
    ) -> Evaluation:
        """Call a task's function, again if it raises, and run the graph that it returns.

        Args:
            node: What is called.
            name: The call's name.
            call: The function.
            attempts: How it is tried.
            arguments: Gives the arguments, of which each attempt has copies.
            shared: Further ones, of which all calls of the node have the same.
        """
        settings = attempts.settings
        try:
            check_installed(settings.requirements)
        except RequirementsError as error:  # as on an engine: of no attempt, and of no item
            return self._ended(fail(error, node, name))
        checkpoint = LocalCheckpoint()
        options = merge_options(node.options, self._defaults)
        place = LocalPlace(self._rules.resources, options)
        adds = isinstance(node, (ReduceNode, FoldNode))  # it may, to what it holds
        own: OwnArguments | None = None
        plain = as_plain(call)
        for attempt in itertools.count(1):
            token = current_client.set(INSIDE_TASK)
            try:
                # As in a worker, where the caller's blocks are not entered.
                here = local_task(node, name, attempt, checkpoint, place)
                span = local_span(node.name, self._trace)
                with as_block(None), running(here), Surrounded(settings.env), span as trace:
                    own = own or OwnArguments(
                        *arguments(),
                        copies=not adds or settings.retries > 0,
                        once=isinstance(node, CallNode),
                    )
                    args, kwargs = own.load()
                    result = plain(*args, **kwargs, **shared)
                if not adds:
                    self.changes.tell(node.name, call, own.changes((args, kwargs)))
                break
            except bdb.BdbQuit:
                raise  # the user left
            except FailedReference as failed:
                failed.root.skipped += 1
                return LocalFailure(failed.root, node, name)
            except BaseException as error:
                if is_interrupt(error):
                    raise
                used_up = attempt > settings.retries
                final = error if used_up else final_error(attempts.retry_on, error)
                try:
                    if final is not None:
                        return self._ended(self._fall_back(node, fail(final, node, name, attempt)))
                finally:
                    del final  # its traceback holds this frame
            finally:
                current_client.reset(token)
            attempts.sleep(settings.draw_pause(attempt))
        result = self._kept(node, name, result)
        if type(result) is not LocalFailure and looked(lambda: contains_lazy(result), False):
            result = yield self._expand(node, name, result, trace)
        return result

    def _ended(self, result: Any) -> Any:
        """A result; a failure ends all where the first one does."""
        if self._eager and type(result) is LocalFailure:
            raise FirstFailure(result)
        return result

    def _kept(self, node: Node, name: str, result: Any) -> Any:
        """What a call has returned; its failure, or what stands for it, if that is no value."""
        if inspect.iscoroutine(result):  # of a function that does not say that it is asynchronous
            result = fail(_unawaited(result, name), node, name)
        elif node.outputs > 1:
            result = _checked_outputs(node, name, result)
        return (
            self._ended(self._fall_back(node, result)) if type(result) is LocalFailure else result
        )

    def _fall_back(self, node: Node, failure: LocalFailure) -> Any:
        """What stands for a value that could not be made."""
        on_failure = merge_options(node.options, self._defaults).on_failure
        if on_failure is None or not isinstance(node, (CallNode, MapNode, FilterNode)):
            return failure
        if on_failure.skips:
            return failure if isinstance(node, CallNode) else ABSENT
        if isinstance(node, FilterNode) or not on_failure.replaces:
            return failure
        try:
            value = on_failure.of(lambda: _told(failure))
            if looked(lambda: contains_lazy(value), False):
                raise lazy_fallback()
        except BaseException as error:
            if is_interrupt(error):
                raise
            return fail(error, node, failure.name)
        return _checked_outputs(node, failure.name, value) if node.outputs > 1 else value

    def insert(self, value: Any, values: Any, node: Node, name: str) -> Any:
        """A value with those of its references; or its failure, which skips the node."""
        if type(values) is LocalFailure:
            return values
        try:
            return self._rules.insert(value, values)
        except FailedReference as failed:
            return LocalFailure(failed.root, node, name)

    def _expand(self, node: Node, name: str, result: Any, trace: Labels) -> Evaluation:
        """Run the graph that a task returned; each of several outputs may fail alone."""
        try:
            defaults = inherited_options(node.block, self._defaults)
            inner = self._open(result, defaults, trace)
        except GraphError as error:
            return fail(error, node, name)
        values = {}
        for reference in inner.targets:
            values[id(reference)] = yield inner.value(reference)
        if node.outputs == 1:
            return self._filled(node, name, result, values)
        return tuple(self._filled(node, name, output, values) for output in result)

    def _filled(self, node: Node, name: str, result: Any, values: dict[int, Any]) -> Any:
        needed = [values[id(reference)] for reference in find_dependencies(result)]
        failure = first_failure(needed)
        if failure is not None:
            # A task that returned another call of its own name is one name of the path.
            return failure if failure.name == name else failure.reaching(node, name)
        return self.insert(result, values, node, name)


def _unawaited(value: Coroutine[Any, Any, Any], name: str) -> SerializationError:
    """What an engine says of a coroutine, which it cannot store."""
    value.close()
    return SerializationError(
        f"task {name!r} returned a value that cannot be stored: coroutine at value: give the value "
        "that awaiting it gives"
    )


def _told(failure: LocalFailure) -> BaseException:
    """A failure as whoever asks for the value would see it."""
    exception = raisable(failure.root.exception)
    set_cause(exception, failure.cause())
    return exception


def _checked_outputs(node: Node, name: str, result: Any) -> Any:
    try:
        return tuple(split_outputs(result, node.outputs, name))
    except BaseException as error:  # whatever the value does when its parts are taken
        if is_interrupt(error):
            raise
        set_traceback(error, None)
        return fail(error, node, name)
