"""``Client(dry_run=True)``: graphs are looked at, and nothing runs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from armoflow.client.client_environment import DRY_RUN_VARIABLE
from armoflow.client.future import Future
from armoflow.client.inquiry import Inquiry
from armoflow.client.planned_future import FutureOrigin
from armoflow.client.progress import Display
from armoflow.client.put import Put
from armoflow.errors import DryRunError, OptionError
from armoflow.estimate import Estimate
from armoflow.graph.collection import DelayedList
from armoflow.orchestrator.outcomes import Names
from armoflow.orchestrator.tally import Count

if TYPE_CHECKING:
    from armoflow.client.backend import Backend
    from armoflow.client.client import Client
    from armoflow.client.eager_target import Stop
    from armoflow.graph.render import Picture


class DryRunBackend:
    """In place of another backend: what that would run is looked at.

    Args:
        client: The client.
        backend: What would run it.
    """

    display: Display | None = None

    def __init__(self, client: Client, backend: Backend) -> None:
        self._client = client
        self._backend = backend
        self.endpoint = backend.endpoint
        self.workers = backend.workers
        path = os.environ.get(DRY_RUN_VARIABLE)
        self._path = Path(path) if path else None
        if self._path is not None and sys.excepthook is not _quiet:
            global _told
            _told, sys.excepthook = sys.excepthook, _quiet

    @property
    def extensions(self) -> frozenset[str]:
        """What the engine offers."""
        return self._backend.extensions

    def counts(self) -> Mapping[str, Count]:
        """Nothing runs."""
        return {}

    def facts(self) -> Mapping[str, object]:
        """What else is known of the client."""
        return {**self._backend.facts(), "runs": "nothing"}

    def picture(self) -> Picture:
        """Nothing was run."""
        return self._backend.picture()

    def inquire(self, values: Sequence[Any], asked: str = "dry_run=True") -> Inquiry:
        """What the cache has of some values."""
        return self._backend.inquire(values, asked)

    def inquired(self) -> Inquiry:
        """What it had of what was asked for last."""
        return self._backend.inquired()

    def estimate(self, values: Sequence[Any], inquiry: Inquiry) -> Estimate:
        """What some values would take."""
        return self._backend.estimate(values, inquiry)

    def submit(self, values: Sequence[Any]) -> list[Future[Any]]:
        """Look at the graphs of these values; futures that have failed."""
        return self._futures([Names.of(value.node) for value in values], values)

    def submit_items(self, collection: DelayedList[Any]) -> list[Future[Any]]:
        """Look at a collection; a future for each of its items, which has failed."""
        return self._futures([Names.of(collection.node)] * len(collection), [collection])

    def submit_named(self, value: Any, name: str, *, replace: bool) -> Future[Any]:
        """Look at the graph; no run is begun."""
        return self.submit([value])[0]

    def attach(self, name: str) -> Future[Any]:
        """Refused: what runs there is not this client's to look at."""
        raise OptionError(f"dry_run=True runs nothing: leave it out for attach({name!r})")

    def resume(self, name: str) -> Future[Any]:
        """Refused: it would run something."""
        raise OptionError(f"dry_run=True runs nothing: leave it out for resume({name!r})")

    def detach(self) -> list[str]:
        """Nothing was begun."""
        return []

    def compute(
        self,
        values: Sequence[Any],
        timeout: float | None,
        *,
        fail_fast: bool = False,
        stop: Stop | None = None,
    ) -> list[Any]:
        """Look at the graphs of these values.

        Raises:
            DryRunError: Always: it explains them.
        """
        raise self._look(values)[0]

    def iterate(self, collection: DelayedList[Any], timeout: float | None) -> Iterator[Future[Any]]:
        """Look at a collection.

        Raises:
            DryRunError: Always: it explains it.
        """
        raise self._look([collection])[0]

    def put(self, value: Any) -> Put[Any]:
        """Store a value: graphs that have it are keyed by it."""
        return self._backend.put(value)

    def put_named(self, value: Any, name: str, *, replace: bool) -> Put[Any]:
        """Store a value, but under no name: what has that stays."""
        return self._backend.put(value)

    def get(self, name: str) -> Any:
        """The value of a name."""
        return self._backend.get(name)

    def refer(self, name: str) -> Put[Any]:
        """A reference to the value of a name."""
        return self._backend.refer(name)

    def forget(self, name: str) -> None:
        """Nothing: what is stored stays."""

    def interrupt(self) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """End the session."""
        self._backend.close()

    def _futures(self, names: Sequence[Names], values: Sequence[Any]) -> list[Future[Any]]:
        error, inquiry = self._look(values)
        origin = FutureOrigin(self._client)
        futures: list[Future[Any]] = [Future(origin, name) for name in names]
        for future in futures:
            future.found(inquiry)
            future.settle_error(error)
        return futures

    def _look(self, values: Sequence[Any]) -> tuple[DryRunError, Inquiry | None]:
        """What is raised in place of a value, and what was found."""
        try:
            inquiry = self.inquire(values)
        except DryRunError as error:  # an argument is the future of what did not run either
            return error, None
        explanation = inquiry.explain()
        if self._path is not None:
            told = {
                "explanation": explanation.as_dict(),
                "text": str(explanation),
                "estimate": (estimate := self.estimate(values, inquiry)).as_dict(),
                "estimate_text": str(estimate),
            }
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")
        return DryRunError(explanation), inquiry


_told = sys.excepthook


def _quiet(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell an error as before, but for that one: who set the variable reads the file."""
    if not isinstance(error, DryRunError):
        _told(kind, error, trace)
