"""Data that is uploaded once and used by many tasks."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar

from armoflow.client.future import Future
from armoflow.client.neighbours import OF_PUTS
from armoflow.client.waiting import wait_for_event
from armoflow.codec.bare import cause_of
from armoflow.codec.container import Buffer
from armoflow.codec.envelope import Slot, SlotKind, pack_envelope
from armoflow.codec.failure import WHOLE, ErrorRecord
from armoflow.codec.pickling import dumps
from armoflow.codec.recording import record_exception
from armoflow.errors import ArmoflowError, ForeignReferenceError, GraphError, RemoteTraceback
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.planned import SlotRange
from armoflow.orchestrator.planning.call_arguments import value_parts

if TYPE_CHECKING:
    from armoflow.client.client import Client

T = TypeVar("T")


class Put(Generic[T]):
    """What :meth:`Client.put` returns: give it to tasks in place of the value."""

    items_remedy = "map over client.get(name), or over what a task returns that takes it"
    """What is said where it is given as an iterable."""

    def __init__(
        self,
        client: Client,
        constant: Constant,
        value: T | None = None,
        sessions_ended: int | None = 0,
        name: str = "",
    ) -> None:
        self.client = client
        self.constant = constant
        self.value = value
        """The value itself, in the debug mode."""
        self.sessions_ended = sessions_ended
        """How many of the client's sessions had ended when it was made; None: it is in another."""
        self.name = name
        """What all clients of the engine find the value by, if it was given a name."""

    def __repr__(self) -> str:
        return f"<Put {self.name or self.constant.result_id or self.constant.name}>"

    if not TYPE_CHECKING:  # a type checker finds these by itself

        def __getattr__(self, name: str) -> NoReturn:
            remedy = f": write {OF_PUTS[name]}" if name in OF_PUTS else ""
            raise AttributeError(f"a put reference has no attribute {name!r}{remedy}")

    def __reduce__(self) -> Any:
        raise GraphError("a put reference cannot be pickled: give it to a task as an argument")


def check_owner(reference: Any, client: Client) -> None:
    """Refuse the future or ``put`` reference of another client.

    Raises:
        ForeignReferenceError: If it is one.
    """
    if reference.client is not client:
        if isinstance(reference, Put) and reference.name:
            raise ForeignReferenceError(
                f"the reference to {reference.name!r} belongs to another client: take "
                f"refer({reference.name!r}) of the client that computes, if it is one of the same "
                "engine; or give the value"
            )
        kind = "Future" if isinstance(reference, Future) else "put reference"
        raise ForeignReferenceError(
            f"the {kind} {reference!r} belongs to another client: give its value, or submit it and "
            "what needs it with the same client"
        )


class DependencyCancelledError(ArmoflowError, concurrent.futures.CancelledError):
    """A future that is an argument was cancelled: so is what needs it."""


class Store(Protocol):
    """What references need of the client's engine.

    Attributes:
        key: Seals the errors of the client's tasks.
    """

    key: bytes

    @property
    def sessions_ended(self) -> int:
        """How many sessions were ended: what they stored is gone."""

    def store(self, name: str, parts: Sequence[Buffer]) -> Constant:
        """Store data in the open session."""

    def holds(self, future: Future[Any]) -> bool:
        """Whether what a future that is done stands for is right, as far as it is known."""


class PlanReferences:
    """Resolves the futures and ``put`` references of one client inside arguments of one plan.

    Args:
        client: The client whose references these must be.
        engine: Where values are stored.
        pending: Futures that are known to be among the arguments.
    """

    kinds = frozenset({Future, Put})

    def __init__(self, client: Client, engine: Store, pending: Sequence[Future[Any]]) -> None:
        self._client = client
        self._engine = engine
        self._lock = threading.Lock()
        self._stopped = False
        self._wake: threading.Event | None = None
        self._needed: list[Future[Any]] = []
        for future in pending:
            self._need(future)

    def stop(self) -> None:
        """The plan is made, or given up: wait for nothing more."""
        with self._lock:
            self._stopped = True
            needed, self._needed = self._needed, []
            if self._wake is not None:
                self._wake.set()
        for future in needed:
            future.needed(-1)

    def _need(self, future: Future[Any]) -> None:
        """From now on the future is not cancelled, unless the plan is given up."""
        with self._lock:
            if self._stopped or future in self._needed:
                return
            self._needed.append(future)
        future.needed(1)

    def resolve(self, value: Any) -> SlotRange | Sequence[SlotRange] | Constant:
        """What a future or ``put`` reference stands for; waits until a future is done.

        Raises:
            ForeignReferenceError: If it belongs to another client.
            GraphError: If what was put went with its session.
            DependencyCancelledError: If the future was cancelled.
        """
        check_owner(value, self._client)
        if isinstance(value, Put):
            return self._put(value)
        self.wait(value)
        if value.constant is None:
            place = self._place(value)
            if place is not None:
                return place
            value.constant = self.anew(value)
        constant: Constant = value.constant
        return constant

    def _put(self, value: Put[Any]) -> Constant:
        if value.sessions_ended not in (None, self._engine.sessions_ended):
            raise GraphError(
                f"{value!r} went with the session that an interrupt has ended: put the value again"
            )
        return value.constant

    def wait(self, future: Future[Any]) -> None:
        """Wait until a future is done, which is not cancelled meanwhile.

        Raises:
            DependencyCancelledError: If it was.
        """
        if not future.done():
            self._need(future)
            with self._lock:
                self._wake = threading.Event()
                if self._stopped:
                    self._wake.set()
            future.when_done(self._wake.set)
            wait_for_event(self._wake)
        if self._stopped or future.cancelled():
            raise DependencyCancelledError(f"{future!r}, which is an argument, was cancelled")

    def _place(self, future: Future[Any]) -> SlotRange | Sequence[SlotRange] | None:
        """Where a future's data is; None: it has to be stored anew."""
        if future.sessions_ended == self._engine.sessions_ended and self._engine.holds(future):
            ranges = [
                piece
                for piece in future.pieces
                if isinstance(piece, SlotRange) and piece.result.blame is None
            ]
            if len(ranges) == len(future.pieces) and (ranges or future.is_collection):
                return ranges if future.is_collection else ranges[0]
        return None

    def anew(self, future: Future[Any]) -> Constant:
        """Store what a future that is done has come to."""
        error = future.exception()
        if error is None:
            parts = value_parts(dumps(future.result()))
        else:
            # Not an input that has failed: it would stop the others that a batch has.
            record = record_of(error, future.name)
            parts = pack_envelope([Slot(SlotKind.ERROR, record.encode(self._engine.key, WHOLE))])
        return self._engine.store(future.name, parts)


def record_of(error: BaseException, name: str) -> ErrorRecord:
    """The record of an error that a future has raised here."""
    cause = cause_of(error)
    if not isinstance(cause, RemoteTraceback):
        return record_exception(error, node=name)
    record = record_exception(error, node=cause.node, attempts=cause.attempts)
    return dataclasses.replace(record, path=list(cause.path), chain=())
