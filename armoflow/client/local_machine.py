"""The machinery of the debug mode: evaluations, streams of items, failures, and the loop.

Evaluations are generators driven by one loop, so that a graph may be deeper than Python's stack.
A collection's evaluation is suspended after each item: a map that is reduced holds a few items at
a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from armoflow.client.local_arguments import ChangeWarnings
from armoflow.codec.bare import cause_of, traceback_of
from armoflow.codec.exceptions import is_raisable
from armoflow.codec.payload import Settings
from armoflow.codec.traces import message_of, text_of
from armoflow.errors import GraphError, RemoteTaskError, RemoteTraceback
from armoflow.graph.nodes import Node
from armoflow.options import TaskOptions
from armoflow.resources import Resources
from armoflow.retrying import RetryOn

Evaluation: TypeAlias = Generator[Any, Any, Any]
"""Yields an evaluation to have it run, a cursor to read from, or (a stream's) ``(slot,)``.

A slot is a value, a ``LocalFailure``, or ``ABSENT``.
"""


class LocalAttempts(NamedTuple):
    """How often a task is tried again after it raised, and how long it waits before."""

    settings: Settings
    retry_on: RetryOn | None
    sleep: Callable[[float], None]


class LocalRules(Protocol):
    """What does not depend on the graph."""

    @property
    def resources(self) -> Resources:
        """What tasks share."""

    @property
    def changes(self) -> ChangeWarnings:
        """Tells which arguments tasks have changed in place."""

    def attempts(self, options: TaskOptions) -> LocalAttempts:
        """How often a task with these options is tried."""

    def insert(self, value: Any, values: dict[int, Any]) -> Any:
        """Put values, by the ids of their references, into arguments.

        Raises:
            FailedReference: If one of them is a future that failed.
        """


class LocalMark:
    """A value that is like no other."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


ABSENT = LocalMark("ABSENT")
"""An item that a filter dropped."""

END = LocalMark("END")
"""There are no more items."""


class Root:
    """A task that failed, and what it caused.

    Attributes:
        exception: What it raised.
        name: Its node's name, with the item's index.
        attempts: How often it was tried.
        before: The path to it, if it failed before this graph was run.
        skipped: How many items did not run because of it, so far.
        traceback: The traceback's text, from the user's first frame on.
    """

    __slots__ = ("attempts", "before", "exception", "name", "skipped", "traceback")

    def __init__(self, exception: BaseException, name: str, attempts: int = 1) -> None:
        self.exception = exception
        self.name = name
        self.attempts = attempts
        self.before: Sequence[str] = ()
        self.skipped = 0
        frames = traceback_of(exception)
        while frames is not None and frames.tb_frame.f_globals.get("__package__") == __package__:
            frames = frames.tb_next
        self.traceback = ""
        if frames is not None:  # else it is armoflow's own: where it was raised does not matter
            self.traceback = text_of(exception, frames)

    @classmethod
    def of_future(cls, exception: BaseException, name: str) -> Root:
        """The failure of a future that is an argument."""
        root = cls(exception, name)
        cause = cause_of(exception)
        if isinstance(cause, RemoteTraceback):
            root.name, root.attempts, root.traceback = cause.node, cause.attempts, cause.traceback
            root.before = cause.path
            root.skipped = cause.skipped
        return root


class FailedReference(Exception):
    """A future among the arguments failed; ``root`` says how."""

    def __init__(self, root: Root) -> None:
        super().__init__(root)
        self.root = root


class LocalFailure:
    """Stands where a value would be; linked, through the nodes that it reached, to its root.

    A node that only holds it has no name in the path: the name is empty.
    """

    __slots__ = ("name", "node", "root", "via")

    def __init__(self, root: Root, node: Node, name: str, via: LocalFailure | None = None) -> None:
        self.root = root
        self.node = node
        self.name = name
        self.via = via

    def reaching(self, node: Node, name: str) -> LocalFailure:
        """The failure as it is seen by a node that needed the value."""
        return self if self.node is node else LocalFailure(self.root, node, name, self)

    def skipping(self, node: Node, name: str) -> LocalFailure:
        """The same, of a task that did not run because of it."""
        self.root.skipped += 1
        return self.reaching(node, name)

    def path(self) -> list[str]:
        """Names from the root to here."""
        names = []
        link: LocalFailure | None = self
        while link is not None:
            names.append(link.name)
            link = link.via
        return [*self.root.before, *filter(None, names[::-1])]

    def cause(self) -> RemoteTraceback:
        """Where it happened."""
        root = self.root
        return RemoteTraceback(root.name, root.traceback, self.path(), root.skipped, root.attempts)


class FirstFailure(Exception):
    """A call failed, and nothing more is to be run. Never leaves the runner.

    Attributes:
        failure: Which.
    """

    def __init__(self, failure: LocalFailure) -> None:
        super().__init__()
        self.failure = failure


def fail(error: BaseException, node: Node, name: str, attempts: int = 1) -> LocalFailure:
    """A node's own failure."""
    return LocalFailure(Root(error, name, attempts), node, name)


class LocalStream:
    """A collection being evaluated item by item; with a buffer if it is read more than once."""

    __slots__ = ("body", "buffer", "finished", "reader")

    def __init__(self, body: Evaluation, *, buffered: bool = False) -> None:
        self.body = body
        self.buffer: list[Any] | None = [] if buffered else None
        self.finished = False
        self.reader: LocalCursor | None = None  # who waits for the item being made


class LocalCursor:
    """A reader's place in a stream; yielding it gives the next slot, or ``END``.

    Args:
        stream: What is read.
        output: Which output of each item, where items have several.
    """

    __slots__ = ("output", "position", "stream")

    def __init__(self, stream: LocalStream, output: int | None = None) -> None:
        self.stream = stream
        self.output = output
        self.position = 0

    def take(self, slot: Any) -> Any:
        """Step over a slot, and pick the output from it."""
        self.position += 1
        if self.output is None or slot is ABSENT or type(slot) is LocalFailure:
            return slot
        return slot[self.output]


def next_slot(cursor: LocalCursor) -> Evaluation:
    """Read one slot."""
    return (yield cursor)


def row(cursors: Sequence[LocalCursor], *, whole: bool = False) -> Evaluation:
    """Read one slot of each, as a tuple; None at the end of the shortest.

    Args:
        cursors: Where to read.
        whole: At the end of the longest: ``END`` stands in the place of those that ended before.
    """
    slots = []
    for cursor in cursors:
        slot = yield cursor
        if slot is END and not whole:
            return None
        slots.append(slot)
    return None if all(slot is END for slot in slots) else tuple(slots)


def first_failure(slots: Iterable[Any]) -> LocalFailure | None:
    """The first failure among slots."""
    return next((slot for slot in slots if type(slot) is LocalFailure), None)


def drive(evaluation: Evaluation) -> Any:
    """Run an evaluation, and those that it asks for, to its end."""
    stack: list[tuple[Evaluation, LocalStream | None]] = [(evaluation, None)]
    answer: Any = None
    while stack:
        top, stream = stack[-1]
        try:
            request = top.send(answer)
        except StopIteration as stop:
            stack.pop()
            answer = stop.value
            if stream is not None:
                stream.finished = True
                stream.reader = None
                answer = END
            continue
        answer = None
        if type(request) is LocalCursor:
            source = request.stream
            if source.buffer is not None and request.position < len(source.buffer):
                answer = request.take(source.buffer[request.position])
            elif source.finished:
                answer = END
            elif source.reader is not None:
                raise GraphError(
                    "an iterator gave an item that depends on the iterator's own items"
                )
            else:
                source.reader = request
                stack.append((source.body, source))
        elif stream is not None and type(request) is tuple:
            stack.pop()
            answer = _deliver(stream, request[0])
        else:
            stack.append((request, None))
    try:
        return answer
    finally:
        del answer  # what failed holds this frame by its traceback


def _deliver(stream: LocalStream, slot: Any) -> Any:
    if stream.buffer is not None:
        stream.buffer.append(slot)
    reader, stream.reader = stream.reader, None
    return slot if reader is None else reader.take(slot)


def raisable(exception: BaseException) -> BaseException:
    """The exception, or what stands for one that would stop the caller."""
    if is_raisable(type(exception)):
        return exception
    kind, text = type(exception).__name__, message_of(exception)
    return RemoteTaskError(f"{kind}: {text}" if text else kind, kind)
