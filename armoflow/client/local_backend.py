"""Runs graphs in the caller's thread: the debug mode, behind the client's face."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from armoflow.client.call_spans import call_span
from armoflow.client.future import Future
from armoflow.client.inquiry import Inquiry, refuse_iterators
from armoflow.client.local import LocalOutcome, LocalRunner
from armoflow.client.local_arguments import copied
from armoflow.client.planned_future import FutureOrigin
from armoflow.client.progress import Display
from armoflow.client.put import Put, check_owner
from armoflow.client.validate import arguments, references
from armoflow.errors import GraphError, NamedValueError, OptionError
from armoflow.estimate import Estimate
from armoflow.graph.collection import DelayedList
from armoflow.graph.graph import Graph
from armoflow.options import TaskOptions
from armoflow.orchestrator.caching.account import Account
from armoflow.orchestrator.caching.uncached import account_uncached
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.outcomes import ItemOutcome, Names
from armoflow.orchestrator.planning.plan_settings import PlanSettings
from armoflow.orchestrator.tally import Count

if TYPE_CHECKING:
    from armoflow.client.client import Client
    from armoflow.client.eager_target import Stop
    from armoflow.graph.render import Picture

_NOTHING_KEPT = "local=True keeps nothing"
_NO_RUNS = (
    "local=True runs everything in the caller's thread: {} needs an engine, Client(endpoint) or "
    "Client()"
)


class LocalBackend:
    """Runs graphs at once, in the thread that asks; futures come back done."""

    display: Display | None = None  # the caller itself runs
    endpoint = "local"
    workers = 1

    def __init__(self, client: Client, options: TaskOptions) -> None:
        self._client = client
        self._runner = LocalRunner(options, kinds=(Future, Put), resolve=self._resolve)
        self._numbers = itertools.count(1)
        self._named: dict[str, Put[Any]] = {}
        self._inquiry = Inquiry(Account(0.0))

    def pause_with(self, sleep: Callable[[float], None]) -> None:
        """Pass the pauses before retries in another way."""
        self._runner.sleep = sleep

    @property
    def extensions(self) -> frozenset[str]:
        """There is no engine that could offer any."""
        return frozenset()

    def counts(self) -> Mapping[str, Count]:
        """What is asked for has ended when it is there: nothing is counted."""
        return {}

    def facts(self) -> Mapping[str, object]:
        """Nothing else is known."""
        return {"runs": "in the caller's thread"}

    def picture(self) -> Picture:
        """Nothing is remembered."""
        raise GraphError(
            "local=True remembers nothing of what it has run: name the values, "
            "client.visualize(value)"
        )

    def inquire(self, values: Sequence[Any], asked: str) -> Inquiry:
        """Nothing is kept: all of it is run."""
        refuse_iterators(values, asked)
        self._inquiry = Inquiry(account_uncached(Graph(*values), lambda _: _NOTHING_KEPT))
        return self._inquiry

    def inquired(self) -> Inquiry:
        """What was found of what was asked about last."""
        return self._inquiry

    def estimate(self, values: Sequence[Any], inquiry: Inquiry) -> Estimate:
        """What some values will take: nothing is measured."""
        return inquiry.estimate(values, PlanSettings(workers=1))

    def submit(self, values: Sequence[Any]) -> list[Future[Any]]:
        """Run the graphs of these lazy values as one; a future each, done."""
        with call_span("submit", values):
            return self._submit(values)

    def _submit(self, values: Sequence[Any], *, fail_fast: bool = False) -> list[Future[Any]]:
        self._check(values)
        # What fails holds this frame by its traceback: that must not hold what failed.
        return self._futures(values, self._runner.run_all(values, fail_fast=fail_fast))

    def _futures(self, values: Sequence[Any], ended: Sequence[Any]) -> list[Future[Any]]:
        return [self._future(value, end) for value, end in zip(values, ended, strict=True)]

    def submit_items(self, collection: DelayedList[Any]) -> list[Future[Any]]:
        """Run a collection; a future for each of its items, done."""
        with call_span("map", [collection]):
            return self._submit(list(collection))

    def submit_named(self, value: Any, name: str, *, replace: bool) -> Future[Any]:
        """Run it: nothing outlives the caller, so a name makes no difference."""
        return self.submit([value])[0]

    def attach(self, name: str) -> Future[Any]:
        """There is nothing to attach to."""
        raise OptionError(_NO_RUNS.format(f"attach({name!r})"))

    def resume(self, name: str) -> Future[Any]:
        """There is nothing to go on with."""
        raise OptionError(_NO_RUNS.format(f"resume({name!r})"))

    def detach(self) -> list[str]:
        """Nothing goes on by itself."""
        raise OptionError(_NO_RUNS.format("detach()"))

    def compute(
        self,
        values: Sequence[Any],
        timeout: float | None,
        *,
        fail_fast: bool = False,
        stop: Stop | None = None,
    ) -> list[Any]:
        """Run the graphs of these lazy values as one; a value each. The timeout is ignored."""
        with call_span("compute", values):
            left = self._submit(values, fail_fast=fail_fast)[::-1]
            found = []
            while left:  # what is raised holds this frame: that must not hold its future
                found.append(left.pop().result())
            return found

    def iterate(self, collection: DelayedList[Any], timeout: float | None) -> Iterator[Future[Any]]:
        """Run a collection, each item when it is asked for; the timeout is ignored."""
        self._check([collection])
        return (self._future(collection, outcome) for outcome in self._runner.iterate(collection))

    def put(self, value: Any) -> Put[Any]:
        """Keep a value: there is no engine to store it."""
        constant = Constant.stored(f"local-{next(self._numbers)}", "")
        return Put(self._client, constant, copied(value))

    def put_named(self, value: Any, name: str, *, replace: bool) -> Put[Any]:
        """Keep a value under a name, as long as this client is there."""
        if name in self._named and not replace:
            raise NamedValueError(
                f"something is stored as {name!r} already: take another name, or say replace=True"
            )
        reference = self._named[name] = self.put(value)
        return reference

    def get(self, name: str) -> Any:
        """The value of a name."""
        return self.refer(name).value

    def refer(self, name: str) -> Put[Any]:
        """A reference to the value of a name."""
        if name not in self._named:
            raise NamedValueError(f"nothing is stored as {name!r} in this client")
        return self._named[name]

    def forget(self, name: str) -> None:
        """Remove the value of a name."""
        self.refer(name)
        del self._named[name]

    def interrupt(self) -> None:
        """Nothing runs behind the caller's back."""

    def close(self) -> None:
        """Close what tasks have shared."""
        self._runner.resources.close()

    def _resolve(self, reference: Any) -> Any:
        """The value of a future or ``put`` reference inside arguments."""
        check_owner(reference, self._client)
        return reference.value if isinstance(reference, Put) else reference.result()

    def _check(self, values: Sequence[Any]) -> None:
        for node in Graph(*values):
            for reference in references(arguments(node)):
                check_owner(reference, self._client)

    def _future(self, value: Any, ended: LocalOutcome | list[LocalOutcome]) -> Future[Any]:
        future: Future[Any] = Future(FutureOrigin(self._client), Names.of(value.node))
        future.shows(value)
        whole = not isinstance(ended, list)
        outcomes = [ended] if isinstance(ended, LocalOutcome) else ended
        future.settle_outcomes(
            [ItemOutcome(outcome.value, outcome.exception) for outcome in outcomes], whole
        )
        return future
