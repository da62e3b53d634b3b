"""Runs graphs on an engine: a private one, or any ArmoniK at an endpoint."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from armoflow import config
from armoflow.client import signals
from armoflow.client.collector import COLLECTOR
from armoflow.client.eager_target import EagerTarget, Failed, Stop
from armoflow.client.embedded import PrivateEngine
from armoflow.client.future import Future, FutureOrigin
from armoflow.client.gathering import Gathering, late
from armoflow.client.inquiry import Inquiry, keep_to_budget, refuse_iterators
from armoflow.client.iteration import Iteration
from armoflow.client.loop import CallbackThread, shared_loop
from armoflow.client.offers import offer_here, offers_of, read_offers
from armoflow.client.progress import Display, Waiting
from armoflow.client.put import Put, References
from armoflow.client.renewing import RenewedItems, Renewing
from armoflow.client.shared_engine import SharedEngine
from armoflow.client.validate import Survey
from armoflow.client.waiting import take, wait_for_event
from armoflow.client.watched import WatchedWork
from armoflow.codec.container import Buffer
from armoflow.codec.envelope import unpack_envelope
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import dumps, loads
from armoflow.codec.seal import new_key
from armoflow.codec.unreadable import unreadable
from armoflow.errors import (
    ArmoflowError,
    DataLostError,
    EngineError,
    OptionError,
    SerializationError,
)
from armoflow.estimate import Estimate
from armoflow.graph.collection import DelayedList
from armoflow.graph.graph import Graph
from armoflow.options import (
    MAX_RETRIES,
    PRIORITY,
    TaskOptions,
    current_block,
    merge_options,
)
from armoflow.orchestrator import sizes
from armoflow.orchestrator.caching.hits import CachedPlan
from armoflow.orchestrator.caching.uncached import account_uncached, calls_of, why_uncached
from armoflow.orchestrator.named.values import NamedValues, StoredValue
from armoflow.orchestrator.pack_sizes import CLUSTER_PACKING, PACKING
from armoflow.orchestrator.planned import Constant, LocalItems, PlanPiece, SlotRange
from armoflow.orchestrator.planning.call_arguments import value_parts
from armoflow.orchestrator.planning.plan_settings import (
    PlanSettings,
    Surroundings,
    subgraph_seconds,
)
from armoflow.orchestrator.tally import Count
from armoflow.orchestrator.targets import (
    IterationWindow,
    Names,
    WaitingTarget,
    cut_cells,
    outcomes,
    raise_error,
    values,
)
from armoflow.orchestrator.templates import is_plain
from armoflow.placement import Limits, Offer
from armoflow.protocol.grpc_setup import prepare_grpc
from armoflow.protocol.settings import ConnectionSettings
from armoflow.system.descriptors import open_standard_streams
from armoflow.system.grants import processors
from armoflow.tracing import Labels

if TYPE_CHECKING:
    from armoflow.client.client import Client
    from armoflow.client.client_options import PayloadMode
    from armoflow.client.named_runs import NamedRuns
    from armoflow.client.output_display import Logs
    from armoflow.graph.render import Picture
    from armoflow.index import Index
    from armoflow.orchestrator.caching.cache import Cache
    from armoflow.orchestrator.orchestrator import Orchestrator
    from armoflow.orchestrator.planning.planner import Planner
    from armoflow.orchestrator.run import Run
    from armoflow.orchestrator.templates import PlainCall
    from armoflow.protocol.transport import Transport

logger = logging.getLogger(__name__)

_Arrivals = queue.SimpleQueue["tuple[PlanPiece, int] | None"]
"""Pieces of a collection, as they come, and the positions of their first items."""

INLINE_ENTRIES = 64
"""Tasks of a submitted graph that are planned before submit() returns: often all of them."""


class EngineBackend:
    """Runs graphs on an engine; see :class:`~armoflow.client.client.Client` for the arguments."""

    def __init__(
        self,
        client: Client,
        settings: ConnectionSettings | None,
        options: TaskOptions,
        *,
        state: Path | None,
        cache_limit: int | None,
        offers: Sequence[Offer],
        workers: int | None,
        payloads: PayloadMode,
        extensions: bool,
        max_priority: int,
        connect_timeout: float,
        inline_seconds: float | None,
        name: str,
        progress: bool | None,
        logs: Logs | None,
        report: Path | None,
        budget: float | None,
    ) -> None:
        in_file = read_offers(os.environ)  # what it holds is known to be right before a start
        open_standard_streams()
        prepare_grpc()
        self._client = client
        self._name = name
        self._budget = budget
        self._inquiry = Inquiry(account_uncached((), str))
        self._loop = shared_loop()
        self._engine: PrivateEngine | SharedEngine | None = None
        self.key = new_key()
        # The engine starts while this process imports gRPC.
        if state is not None:
            self._engine = SharedEngine(state, workers or processors())
        elif settings is None:
            workers = workers or processors()
            self._engine = PrivateEngine(workers, extensions)
        if self._engine is not None:
            settings = ConnectionSettings(self._engine.endpoint)
        assert settings is not None
        self._state = state
        self._cache_limit = cache_limit
        self._lasting = not isinstance(self._engine, PrivateEngine)
        self._connection = settings
        self.endpoint = settings.endpoint
        self._settings = PlanSettings(
            options=options,
            workers=workers or config.UNKNOWN_PODS,
            key=self.key,
            inline=inline_seconds,
        )
        self._in_block: tuple[TaskOptions | None, PlanSettings] = (None, self._settings)
        self._callbacks = CallbackThread()
        self._watched = WatchedWork(name, progress, logs, report)
        try:
            self._orchestrator = self._connect(payloads, extensions, connect_timeout)
        except BaseException:
            if self._engine is not None:
                self._engine.stop()
            raise
        self._watched.begin(self._orchestrator)
        try:
            offered = self._offered(offers, in_file)
            self._begin(options, workers, offered, max_priority, inline_seconds)
        except BaseException:
            self.close()
            raise

    def _begin(
        self,
        options: TaskOptions,
        workers: int | None,
        offered: tuple[Offer, ...],
        max_priority: int,
        inline_seconds: float | None,
    ) -> None:
        """There is a connection: plan by what the engine says of itself."""
        self.renewing = Renewing(self._loop, self._orchestrator, self._again, self._start_again)
        tally = self._orchestrator.tally
        self._origin = FutureOrigin(
            self._client, self._callbacks, 0, self.key, self.display, tally, self.counts
        )
        if self._engine is not None:
            self._engine.watch(self._engine_lost)
        signals.watch(id(self), self.close)
        info = self._orchestrator.transport.info
        if self._state is not None and workers not in (None, info.pods_of("")):
            logger.warning(
                "the engine of %s has %d workers, which its first client asked for, not %d",
                *(self._state, info.pods_of(""), workers),
            )
        batched = "batch" in info.extensions
        self._settings = dataclasses.replace(
            self._settings,
            workers=workers or info.pods_of(options.partition or ""),
            pods={} if workers else {name: info.pods_of(name) for name in info.pods},
            # A cluster's task costs milliseconds, and its agents move the data of each.
            packing=PACKING if batched else CLUSTER_PACKING,
            subgraph_seconds=subgraph_seconds(batched, inline_seconds),
            patience=sizes.PATIENCE if batched else sizes.CLUSTER_PATIENCE,
            limits=Limits(info.partitions, max_priority, offered),
            caching=True,
        )

    def _offered(self, said: Sequence[Offer], in_file: Sequence[Offer]) -> tuple[Offer, ...]:
        """What the engine's partitions have; of one on this machine it is known.

        Args:
            said: What the script says.
            in_file: What a file says.

        Raises:
            OptionError: If the script says it of one that there is not.
        """
        info = self._orchestrator.transport.info
        known = offers_of(said, in_file, info.partitions)
        if known or self._engine is None:
            return known
        return offer_here(info.partitions, info.pods_of(""))

    def delete_data(self, pieces: Sequence[PlanPiece]) -> None:
        """Delete what the engine has stored of items."""
        orchestrator = self._orchestrator
        ids = list({piece.result.id for piece in pieces if isinstance(piece, SlotRange)})

        async def delete() -> None:
            await orchestrator.transport.delete(await orchestrator.session(), ids)

        self._loop.call(delete())

    @property
    def workers(self) -> int:
        """About how many tasks run at once."""
        return self._settings.workers

    @property
    def display(self) -> Display | None:
        """The bars, where they are shown."""
        return self._watched.display

    @property
    def extensions(self) -> frozenset[str]:
        """What the engine offers beyond the ArmoniK API."""
        return self._orchestrator.transport.info.extensions

    def counts(self) -> dict[str, Count]:
        """How far the work is, by the names of tasks."""
        return self._watched.counts()

    def facts(self) -> dict[str, object]:
        """What else is known of the client, by what it is called."""
        info = self._orchestrator.transport.info
        return {
            "engine": f"ArmoniK {info.core_version}" + (", private" if self._engine else ""),
            "partitions": ", ".join(info.partitions),
            "session": self._orchestrator.last_session,
        }

    def picture(self) -> Picture:
        """What was run so far, as a picture: of the session that was opened last."""
        return self._watched.picture(self._connection)

    def submit(self, values: Sequence[Any]) -> list[Future[Any]]:
        """Start the graphs of these lazy values as one; a future each."""
        with self._watched.span("submit", values) as trace:
            return self._submit(values, trace, self._settings_here())

    def _submit(
        self, values: Sequence[Any], trace: Labels, settings: PlanSettings
    ) -> list[Future[Any]]:
        calls = self._prepare(values, settings)
        origin = self._origin_now()
        if calls is not None:
            called: list[Future[Any]] = [Future(origin, call.template.names) for call in calls]
            for future, call in zip(called, calls, strict=True):
                future.stands_for(call)
            self._orchestrator.calls.start(calls, called, trace)
            return called
        futures: list[Future[Any]] = [Future(origin, Names.of(value.node)) for value in values]
        planner, survey = self._survey(values, settings)
        targets = [
            WaitingTarget(value, self._orchestrator.fetcher.fetch, future.settle)
            for value, future in zip(values, futures, strict=True)
        ]
        self._take(survey, planner)
        inline = _planned_at_once(survey)
        run = self._orchestrator.run(targets, planner, inline, trace)
        for future, value, target in zip(futures, values, targets, strict=True):
            future.shows(value)
            future.found(survey.inquiry)
            self.renewing.watch(future, value, settings)
            future.stands_for(_Wait(self._orchestrator, run, target))
        return futures

    def compute(
        self,
        values: Sequence[Any],
        timeout: float | None,
        *,
        fail_fast: bool = False,
        stop: Stop | None = None,
    ) -> list[Any]:
        """Run the graphs of these lazy values as one, and wait, so many seconds; a value each.

        Args:
            values: What is wanted.
            timeout: Seconds to wait at most.
            fail_fast: Raise the first error as soon as it is known.
            stop: Ends it, where ``fail_fast`` is said.
        """
        settings = self._settings_here()
        if fail_fast:
            settings = dataclasses.replace(settings, fail_fast=True)
        with COLLECTOR.rarely(), self._watched.span("compute", values) as trace:
            try:
                return self._compute(values, timeout, trace, settings, stop)
            finally:
                self._watched.catch_up(self._loop)

    def submit_items(self, collection: DelayedList[Any]) -> list[Future[Any]]:
        """Start a collection; a future for each of its items."""
        if not len(collection):
            return []
        settings = self._settings_here()
        planner, survey = self._survey([collection], settings)
        origin, names = self._origin_now(), Names.of(collection.node)
        futures: list[Future[Any]] = [
            Future(origin, names, index) for index in range(len(collection))
        ]
        renewed = self.renewing.items(collection, settings)
        for index, future in enumerate(futures):
            renewed.watch(future, index)
        target = self._orchestrator.items(collection, futures)
        self._take(survey, planner)
        with self._watched.span("map", [collection]) as trace:
            run = self._orchestrator.run([target], planner, trace=trace)
        target.on_unwanted = functools.partial(self._orchestrator.unwanted, run)
        for future, item in zip(futures, target.places, strict=True):
            future.found(survey.inquiry)
            future.stands_for(item)
        return futures

    def _prepare(self, values: Sequence[Any], settings: PlanSettings) -> list[PlainCall] | None:
        """Values that are plain calls, ready to start; None if they must be planned as a graph."""
        if self._budget is not None or not all(map(is_plain, values)):
            return None
        nodes = [value.node for value in values]
        if len(nodes) > 1 and len(set(nodes)) < len(nodes):
            return None
        return self._orchestrator.calls.templates.prepare(nodes, settings, References.kinds)

    def _compute(
        self,
        values: Sequence[Any],
        timeout: float | None,
        trace: Labels,
        settings: PlanSettings,
        stop: Stop | None = None,
    ) -> list[Any]:
        while True:
            before = self.renewing.found
            try:
                return self._compute_once(values, timeout, trace, settings, stop)
            except DataLostError as error:
                if not self.renewing.was_wrong(error, before):
                    raise

    def _again(self, value: Any, settings: PlanSettings) -> Any:
        (found,) = self._compute([value], None, (), settings)
        return found

    def _start_again(self, value: Any, settings: PlanSettings) -> Future[Any]:
        (future,) = self._submit([value], (), settings)
        return future

    def _compute_once(
        self,
        values: Sequence[Any],
        timeout: float | None,
        trace: Labels,
        settings: PlanSettings,
        stop: Stop | None = None,
    ) -> list[Any]:
        calls = None if settings.fail_fast else self._prepare(values, settings)
        if calls is not None:
            gathering = Gathering(len(values))
            self._orchestrator.calls.start(calls, gathering.receivers, trace)
            if not wait_for_event(gathering.ended, timeout, self.display):
                left = gathering.left
                self._loop.run(lambda: [call.cancel() for call in calls])
                raise late(left, len(values), timeout)
            return gathering.values([Names.of(value.node) for value in values], self.key)
        planner, survey = self._survey(values, settings)
        ended = threading.Event()
        left = len(values)

        def done(_: WaitingTarget) -> None:
            nonlocal left
            left -= 1
            if not left:
                ended.set()

        failures: list[Failed] = []

        def failed(failure: Failed) -> None:
            failures.append(failure)
            ended.set()

        fetch = self._orchestrator.fetcher.fetch
        targets = [
            EagerTarget(value, fetch, done, failed)
            if settings.fail_fast
            else WaitingTarget(value, fetch, done)
            for value in values
        ]
        # The caller waits anyway: its own thread plans, unless that could take it too long.
        inline = None if survey.settled and timeout is None else 0
        planner.surroundings = Surroundings(References(self._client, self, survey.pending))
        run = self._orchestrator.run(targets, planner, inline, trace)
        if stop is not None:
            stop.wake(ended)
        if not wait_for_event(ended, timeout, self.display):
            missing = left
            self._cancel(run, targets)
            raise late(missing, len(values), timeout)
        if failures or (stop is not None and stop.wanted):
            self._cancel(run, targets)
        if stop is not None and stop.wanted:
            raise concurrent.futures.CancelledError
        if failures:
            failures[0].reraise(self.key)
        return [_value(target, self.key) for target in targets]

    def _cancel(self, run: Run, targets: Sequence[WaitingTarget]) -> None:
        def cancel() -> None:
            for target in targets:
                self._orchestrator.cancel(run, target)
            # What only a target needs that has failed is wanted by nobody either.
            self._orchestrator.cancel_run(run)

        self._loop.run(cancel)

    def iterate(self, collection: DelayedList[Any], timeout: float | None) -> Iterator[Future[Any]]:
        """Run a collection, no further ahead than the iteration follows."""
        settings = self._settings_here()
        planner, survey = self._survey([collection], settings)
        self._take(survey, planner)
        arrivals: _Arrivals = queue.SimpleQueue()
        renewed = self.renewing.items(collection, settings)
        futures = self._iterate(collection, timeout, planner, arrivals, renewed)
        return Iteration(futures, functools.partial(arrivals.put, None))

    def _iterate(
        self,
        collection: DelayedList[Any],
        timeout: float | None,
        planner: Planner,
        arrivals: _Arrivals,
        renewed: RenewedItems,
    ) -> Generator[Future[Any], None, None]:
        # Started at the first item that is asked for: an iterator that nobody uses is not closed.
        window = IterationWindow(config.ITERATION_WINDOW)
        target = WaitingTarget(
            collection,
            self._orchestrator.fetcher.fetch,
            lambda _: arrivals.put(None),
            lambda piece, position: arrivals.put((piece, position)),
            window,
        )
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._watched.span("as_completed", [collection]) as trace:
            run = self._orchestrator.run([target], planner, trace=trace)
        try:
            with Waiting(self.display) as waiting:
                while (arrival := _next(arrivals, deadline, waiting.tick)) is not None:
                    waiting.glance()
                    piece, position = arrival
                    for future in self._arrived(
                        *(piece, position, collection, renewed), whole=target.whole
                    ):
                        if future.outcomes():
                            yield future
                    window.consume(piece.length)
            if target.error is not None:
                raise_error(target)
        finally:
            self._loop.run(_Wait(self._orchestrator, run, target).cancel)
            window.close()

    def _arrived(
        self,
        piece: PlanPiece,
        position: int,
        collection: DelayedList[Any],
        renewed: RenewedItems,
        *,
        whole: bool,
    ) -> Iterator[Future[Any]]:
        """A future for each item of a piece; where it is ``whole``, of the one list in it."""
        origin, names = self._origin_now(), Names.of(collection.node)
        if whole:
            (outcome,) = decoded = outcomes([piece], self.key)
            again = renewed.whole(decoded)
            if again is not decoded:
                piece = LocalItems([one.value for one in again])
            elif outcome.error is None:
                piece = LocalItems(outcome.value)
        if isinstance(piece, LocalItems):
            for value in piece.values:
                future: Future[Any] = Future(origin, names)
                future.settle_value(value)
                yield future
        else:
            numbers = range(piece.start, piece.stop)
            cells = cut_cells(piece.result, numbers)
            for at, (number, cell) in enumerate(zip(numbers, cells, strict=True), position):
                future = Future(origin, names)
                renewed.watch(future, at)
                future.settle_slot(piece.result, number, cell)
                yield future

    def put(self, value: Any) -> Put[Any]:
        """Store a value once."""
        parts = self._value_parts(value)
        ended = self.sessions_ended
        return Put(self._client, self.store("put", parts), sessions_ended=ended)

    def _value_parts(self, value: Any) -> list[Buffer]:
        """The stored form of a value, whose classes tasks will know."""
        modules: set[str] = set()
        try:
            parts = value_parts(dumps(value, None, modules))
        except SerializationError as error:
            raise SerializationError(f"the value given to put(): {error}") from error.__cause__
        self._orchestrator.book.add_modules(modules)
        return parts

    def put_named(self, value: Any, name: str, *, replace: bool) -> Put[Any]:
        """Store a value under a name."""
        parts = self._value_parts(value)
        stored = self._loop.call(self._named_values.put(name, parts, replace=replace))
        return self._refer(name, stored)

    def get(self, name: str) -> Any:
        """The value of a name."""
        data = self._loop.call(self._named_values.fetch(name))
        (slot,) = unpack_envelope(data)
        try:
            return loads(Pickled(slot.data, slot.buffers))
        except ArmoflowError:
            raise
        except Exception as error:
            raise unreadable(f"what was stored as {name!r}", slot.data, error) from error

    def refer(self, name: str) -> Put[Any]:
        """A reference to the value of a name."""
        return self._refer(name, self._loop.call(self._named_values.find(name)))

    def _refer(self, name: str, stored: StoredValue) -> Put[Any]:
        constant = Constant.stored(name, stored.result_id, stored.session_id)
        return Put(self._client, constant, sessions_ended=None, name=name)

    def forget(self, name: str) -> None:
        """Remove the value of a name."""
        self._loop.call(self._named_values.remove(name))

    @property
    def _named_values(self) -> NamedValues:
        return NamedValues(self._orchestrator.transport, self._session_options)

    def store(self, name: str, parts: Sequence[Buffer]) -> Constant:
        """Store data in the open session."""
        return self._loop.call(self._orchestrator.store(name, parts))

    def holds(self, future: Future[Any]) -> bool:
        """Whether what a future that is done stands for is right, as far as it is known."""
        return self.renewing.holds(future)

    @property
    def sessions_ended(self) -> int:
        """How many sessions were ended by an interrupt: what they stored is gone."""
        return self._orchestrator.sessions_ended

    def interrupt(self) -> None:
        """Cancel everything that runs."""
        self._loop.call(self._orchestrator.interrupt())

    def close(self) -> None:
        """Cancel everything, end the session and the private engine; may be called again."""
        told = self._watched.end()
        try:
            if "_named" in self.__dict__:
                if self._lasting:
                    self._named.leave()
                self._named.close()
            self._loop.call(self._orchestrator.close())
            if "_index" in self.__dict__:
                self._index.close()
            self._watched.leave(self._connection, told)
        finally:
            self._watched.close()
            if self._engine is not None:
                self._engine.stop()
            self._callbacks.close()
            signals.forget(id(self))

    def _survey(self, values: Sequence[Any], settings: PlanSettings) -> tuple[Planner, Survey]:
        """A planner that knows what the values need, and what was seen on the way."""
        survey, planner = self._look_over(values, settings)
        inquiry, to_run = Inquiry(account_uncached((), str)), calls_of
        if survey.cached:
            cached, inquiry = self._look_up(values, settings, verify=survey.once)
            planner, to_run = self._orchestrator.planner(settings, cached), cached.to_run
            survey = self._new_survey(settings)
            planner.want(values, survey.visit)
            survey.cached = True
            survey.inquiry = self._inquiry = inquiry
        if self._budget is not None:
            refuse_iterators(values, "Client(budget=...)")
            estimate = inquiry._replace(to_run=to_run).estimate(values, settings)
            keep_to_budget(estimate, self._budget)
        return planner, survey

    def _look_over(self, values: Sequence[Any], settings: PlanSettings) -> tuple[Survey, Planner]:
        """Check the values, before anything of them is looked up or sent."""
        survey, planner = self._new_survey(settings), self._orchestrator.planner(settings)
        planner.want(values, survey.visit)
        return survey, planner

    def _new_survey(self, settings: PlanSettings) -> Survey:
        assert settings.limits is not None
        return Survey(self._client, settings.options, settings.limits)

    def _look_up(
        self,
        values: Sequence[Any],
        settings: PlanSettings,
        *,
        forget: bool = True,
        verify: bool = False,
    ) -> tuple[CachedPlan, Inquiry]:
        """What the cache has of some values."""
        from armoflow.client.caching import reference_keys

        orchestrator, cache = self._orchestrator, self._open_cache()
        cached = CachedPlan(
            cache,
            settings.options,
            reference_keys(self._client, self.fetch_put),
            self._loop.call,
            orchestrator.pipeline.put,
        )
        self._loop.call(orchestrator.session())  # what is known is imported into it
        self._loop.call(cache.keeper.settle())
        nodes = (value.node for value in values)
        account = cached.look_up(nodes, forget=forget, verify=verify)
        return cached, Inquiry(account, cache.index)

    def _open_cache(self, orchestrator: Orchestrator | None = None) -> Cache:
        """The cache, as this client, or one of its named runs, asks it."""
        orchestrator = orchestrator or self._orchestrator
        if orchestrator.cache is None:
            self._loop.call(
                orchestrator.open_cache(self._index, lasting=self._lasting, limit=self._cache_limit)
            )
        assert orchestrator.cache is not None
        return orchestrator.cache

    @functools.cached_property
    def _index(self) -> Index:
        from armoflow.client.caching import open_index

        return open_index(self.endpoint if self._lasting else None, self._state)

    def remove_cached(self, opaque_ids: Sequence[bytes]) -> int:
        """Delete data of the cache, and what the index says of it; returns how much is gone."""
        return self._loop.call(self._open_cache().remove(opaque_ids))

    def read_cached(self, opaque_ids: Sequence[bytes]) -> dict[bytes, Buffer]:
        """Data of the cache, as far as the engine has it."""
        return self._loop.call(self._open_cache().read(opaque_ids))

    # --- without running anything ---------------------------------------------------------------

    def inquire(self, values: Sequence[Any], asked: str) -> Inquiry:
        """Look some values up, and run nothing."""
        refuse_iterators(values, asked)
        settings = self._settings_here()
        survey, _ = self._look_over(values, settings)
        if not survey.cached:
            why = functools.partial(why_uncached, base=settings.options)
            return Inquiry(account_uncached(Graph(*values), why))
        cached, inquiry = self._look_up(values, settings, forget=False)
        return inquiry._replace(to_run=cached.to_run)

    def inquired(self) -> Inquiry:
        """What was found of what was asked for last."""
        return self._inquiry

    def estimate(self, values: Sequence[Any], inquiry: Inquiry) -> Estimate:
        """What some values will take, of which that was found."""
        return inquiry.estimate(values, self._settings_here())

    def fetch_put(self, constant: Constant) -> Any:
        """The value of a constant that was put, read back."""

        async def fetch() -> Any:
            session_id = constant.session_id or await self._orchestrator.session()
            (data,) = await self._orchestrator.transport.fetch(session_id, [constant.result_id])
            if isinstance(data, DataLostError):
                raise data
            return data

        return self._loop.call(fetch())

    def _settings_here(self) -> PlanSettings:
        """The settings in the blocks around the caller; what is asked for in one shares them."""
        block = current_block()
        if block is None:
            return self._settings
        known, settings = self._in_block
        if known is not block:
            options = merge_options(block, self._settings.options)
            settings = dataclasses.replace(self._settings, options=options)
            self._in_block = block, settings
        return settings

    def _origin_now(self) -> FutureOrigin:
        """What the futures that are made now have in common."""
        origin = self._origin
        if origin.sessions_ended != self._orchestrator.sessions_ended:
            origin = self._origin = origin._replace(sessions_ended=self.sessions_ended)
        return origin

    def _take(self, survey: Survey, planner: Planner) -> None:
        """Take what the graph refers to as it is now: the caller goes on while it is planned."""
        references = References(self._client, self, survey.pending)
        planner.surroundings = survey.surroundings(references)

    def _connect(
        self, payloads: PayloadMode, extensions: bool, connect_timeout: float
    ) -> Orchestrator:
        # Imported here: gRPC takes a third of a second, in which the engine starts too.
        from armoflow.orchestrator.orchestrator import Orchestrator
        from armoflow.protocol.connect import connect
        from armoflow.protocol.transport import WireOptions

        if self._engine is not None:
            self._engine.wait_until_ready()

        async def open_() -> Transport:
            transport: Transport = await connect(
                self._connection, payloads=payloads, extensions=extensions, timeout=connect_timeout
            )
            self._watched.listen(transport)
            return transport

        self._open = open_
        options = self._settings.options
        self._session_options = WireOptions(
            config.MAXIMUM_DURATION,
            MAX_RETRIES if options.max_retries is None else options.max_retries,
            options.priority or PRIORITY,
            options.partition or "",
            self._name,
        )

        async def begin() -> Orchestrator:
            transport = await open_()
            return Orchestrator(transport, self._session_options, self.key, lasting=self._lasting)

        return self._loop.call(begin())

    # --- named runs -----------------------------------------------------------------------------

    @functools.cached_property
    def _named(self) -> NamedRuns:
        from armoflow.client.named_runs import NamedRuns
        from armoflow.run_notes import RunNotes

        return NamedRuns(
            self._client,
            self._loop,
            self._callbacks,
            connect=self._open,
            read=self.fetch_put,
            options=self._session_options,
            cache=self._open_cache,
            notes=RunNotes(self.endpoint) if self._lasting else None,
        )

    def submit_named(self, value: Any, name: str, *, replace: bool) -> Future[Any]:
        """Begin a named run, join it, or go on with it."""
        settings = self._settings_here()
        if self._budget is not None:
            keep_to_budget(
                self.estimate([value], self.inquire([value], f"submit(name={name!r})")),
                self._budget,
            )
        return self._named.submit(value, name, settings, replace=replace)

    def attach(self, name: str) -> Future[Any]:
        """The future of a named run."""
        return self._named.attach(name)

    def detach(self) -> list[str]:
        """Wait until named runs are laid out; returns their names."""
        if not self._lasting:
            raise OptionError(
                "the private engine of this client ends with it, and its runs do: start an engine "
                "that stays, `armoflow up` and Client(endpoint), or say Client(state=...)"
            )
        return self._named.lay_out()

    def _engine_lost(self, error: EngineError) -> None:
        self._loop.loop.call_soon_threadsafe(self._orchestrator.engine_lost, error)


class _Wait(NamedTuple):
    """What a future stands for that waits for a value of a plan."""

    orchestrator: Orchestrator
    run: Run
    target: WaitingTarget

    def cancel(self) -> bool:
        """Cancel what only it needs, in the loop's thread; see :meth:`Orchestrator.cancel`."""
        return self.orchestrator.cancel(self.run, self.target)


def _planned_at_once(survey: Survey) -> int | None:
    """How much of a plan is made before the caller goes on; None: all, since it may change it."""
    if not survey.only_calls:
        return 0
    return None if survey.changing else INLINE_ENTRIES


def _next(
    arrivals: _Arrivals, deadline: float | None, tick: Callable[[], None]
) -> tuple[PlanPiece, int] | None:
    try:
        return take(arrivals, deadline, tick)
    except queue.Empty:
        raise concurrent.futures.TimeoutError("not all items have ended in time") from None


def _value(target: WaitingTarget, key: bytes) -> Any:
    """What a target that is done has come to; raises its first error."""
    if target.error is not None:
        raise_error(target)
    assert target.value is not None
    names = Names.of(target.value.node)
    found = values(target.pieces, key, names, whole=target.whole)
    return found[0] if target.whole else found
