"""What a client runs graphs on: an engine, or the caller's own thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from armoflow.client.eager_target import Stop
    from armoflow.client.future import Future
    from armoflow.client.inquiry import Inquiry
    from armoflow.client.progress import Display
    from armoflow.client.put import Put
    from armoflow.estimate import Estimate
    from armoflow.graph.collection import DelayedList
    from armoflow.graph.render import Picture
    from armoflow.orchestrator.tally import Count


class Backend(Protocol):
    """Runs graphs for a client."""

    endpoint: str

    @property
    def workers(self) -> int:
        """About how many tasks run at once."""

    @property
    def display(self) -> Display | None:
        """The bars, where they are shown."""

    @property
    def extensions(self) -> frozenset[str]:
        """What the engine offers beyond the ArmoniK API."""

    def counts(self) -> Mapping[str, Count]:
        """How far the work is, by the names of tasks."""

    def facts(self) -> Mapping[str, object]:
        """What else is known of the client, by what it is called."""

    def picture(self) -> Picture:
        """What was run so far, as a picture.

        Raises:
            GraphError: If nothing was.
        """

    def inquire(self, values: Sequence[Any], asked: str) -> Inquiry:
        """Look some values up, and run nothing.

        Raises:
            GraphError: If they read iterators; says what was asked.
        """

    def inquired(self) -> Inquiry:
        """What was found of what was asked for last."""

    def estimate(self, values: Sequence[Any], inquiry: Inquiry) -> Estimate:
        """What some values will take, of which that was found."""

    def submit(self, values: Sequence[Any]) -> list[Future[Any]]:
        """Start the graphs of these lazy values as one; a future each."""

    def submit_items(self, collection: DelayedList[Any]) -> list[Future[Any]]:
        """Start a collection of known length; a future for each of its items."""

    def compute(
        self,
        values: Sequence[Any],
        timeout: float | None,
        *,
        fail_fast: bool = False,
        stop: Stop | None = None,
    ) -> list[Any]:
        """Run the graphs of these lazy values as one, and wait, so many seconds; a value each."""

    def submit_named(self, value: Any, name: str, *, replace: bool) -> Future[Any]:
        """Begin a named run, join it, or go on with it."""

    def attach(self, name: str) -> Future[Any]:
        """The future of a named run."""

    def resume(self, name: str) -> Future[Any]:
        """The future of a named run of which what failed runs again."""

    def detach(self) -> list[str]:
        """Wait until named runs are laid out; returns their names."""

    def iterate(self, collection: DelayedList[Any], timeout: float | None) -> Iterator[Future[Any]]:
        """Run a collection, no further ahead than the iteration follows."""

    def put(self, value: Any) -> Put[Any]:
        """Store a value once."""

    def put_named(self, value: Any, name: str, *, replace: bool) -> Put[Any]:
        """Store a value under a name."""

    def get(self, name: str) -> Any:
        """The value of a name."""

    def refer(self, name: str) -> Put[Any]:
        """A reference to the value of a name."""

    def forget(self, name: str) -> None:
        """Remove the value of a name."""

    def interrupt(self) -> None:
        """Cancel everything that runs."""

    def close(self) -> None:
        """Cancel everything, end the session."""
