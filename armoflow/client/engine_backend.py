"""Runs graphs on an engine: a private one, or any ArmoniK at an endpoint."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armoflow import config
from armoflow.client import signals
from armoflow.client.block_settings import BlockSettings
from armoflow.client.cache_access import CacheAccess
from armoflow.client.eager_target import Stop
from armoflow.client.engine_start import EngineStart
from armoflow.client.future import Future
from armoflow.client.graph_runs import GraphRuns
from armoflow.client.inquiry import Inquiry
from armoflow.client.loop import CallbackThread, shared_loop
from armoflow.client.planned_future import FutureOrigin
from armoflow.client.private_engine import PrivateEngine
from armoflow.client.progress import Display
from armoflow.client.put import PlanReferences, Put
from armoflow.client.stored_values import StoredValues
from armoflow.client.surveying import Surveyor
from armoflow.client.watched import WatchedWork
from armoflow.codec.container import Buffer
from armoflow.codec.seal import new_key
from armoflow.errors import EngineError, OptionError
from armoflow.estimate import Estimate
from armoflow.graph.collection import DelayedList
from armoflow.offers import offer_here, offers_of
from armoflow.options import MAX_RETRIES, PRIORITY, TaskOptions
from armoflow.orchestrator import sizes
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.pack_sizes import CLUSTER_PACKING, PACKING
from armoflow.orchestrator.planned import PlanPiece
from armoflow.orchestrator.planning.plan_settings import PlanSettings, subgraph_seconds
from armoflow.orchestrator.tally import Count
from armoflow.placement import Limits, Offer

if TYPE_CHECKING:
    from armoflow.client.client import Client
    from armoflow.client.named_runs import NamedRuns
    from armoflow.client.output_display import Logs
    from armoflow.graph.render import Picture
    from armoflow.orchestrator.orchestrator import Orchestrator
    from armoflow.protocol.settings import PayloadMode
    from armoflow.protocol.transport import Transport

logger = logging.getLogger(__name__)


class EngineBackend:
    """Runs graphs on an engine; see :class:`~armoflow.client.client.Client` for the arguments."""

    def __init__(
        self,
        client: Client,
        start: EngineStart,
        options: TaskOptions,
        *,
        cache_limit: int | None,
        offers: Sequence[Offer],
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
        self._client = client
        self._name = name
        self._loop = shared_loop()
        self.key = new_key()
        self._engine = start.engine
        self._state = start.state
        self._lasting = not isinstance(self._engine, PrivateEngine)
        self._connection = start.settings
        self.endpoint = start.settings.endpoint
        self._settings = PlanSettings(
            options=options,
            workers=start.workers or config.UNKNOWN_PODS,
            key=self.key,
            inline=inline_seconds,
        )
        self._callbacks = CallbackThread()
        self._watched = WatchedWork(name, progress, logs, report)
        self._orchestrator = self._connect(payloads, extensions, connect_timeout)
        self._watched.begin(self._orchestrator, self._loop)
        self._stored = StoredValues(client, self._loop, self._orchestrator, self._session_options)
        self._cache = CacheAccess(
            *(self._loop, self._orchestrator, self.endpoint, self._state),
            lasting=self._lasting,
            limit=cache_limit,
        )
        try:
            offered = self._offered(offers, start.offers)
            self._begin(options, start.workers, offered, max_priority, inline_seconds)
            self._prepare_to_run(budget)
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
        if self._engine is not None:
            self._engine.watch(self._engine_lost)
        signals.watch(id(self), self.close)
        info = self._orchestrator.transport.info
        if self._state is not None and workers not in (None, info.pods_of("")):
            logger.warning(
                "the engine of %s has workers=%d, as its first client asked for, not %d",
                *(self._state, info.pods_of(""), workers),
            )
            workers = None  # what the engine has is what counts
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

    def _prepare_to_run(self, budget: float | None) -> None:
        """It is known how to plan: put the parts together that do."""
        client, loop, orchestrator = self._client, self._loop, self._orchestrator
        self._blocks = BlockSettings(self._settings)
        self._surveyor = Surveyor(
            *(client, loop, orchestrator),
            settings=self._blocks,
            cache=self._cache,
            read=self._stored.read,
            budget=budget,
        )
        origin = FutureOrigin(
            *(client, self._callbacks, 0, self.key, self.display),
            tally=orchestrator.tally,
            counts=self.counts,
        )
        self._runs = GraphRuns(
            *(loop, orchestrator, origin),
            settings=self._blocks,
            surveyor=self._surveyor,
            watched=self._watched,
            references=lambda pending: PlanReferences(client, self, pending),
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
        self._stored.delete(pieces)

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
        return self._runs.submit(values)

    def compute(
        self,
        values: Sequence[Any],
        timeout: float | None,
        *,
        fail_fast: bool = False,
        stop: Stop | None = None,
    ) -> list[Any]:
        """Run the graphs of these lazy values as one, and wait, so many seconds; a value each."""
        return self._runs.compute(values, timeout, fail_fast=fail_fast, stop=stop)

    def submit_items(self, collection: DelayedList[Any]) -> list[Future[Any]]:
        """Start a collection; a future for each of its items."""
        return self._runs.submit_items(collection)

    def iterate(self, collection: DelayedList[Any], timeout: float | None) -> Iterator[Future[Any]]:
        """Run a collection, no further ahead than the iteration follows."""
        return self._runs.iterate(collection, timeout)

    def put(self, value: Any) -> Put[Any]:
        """Store a value once."""
        return self._stored.put(value)

    def put_named(self, value: Any, name: str, *, replace: bool) -> Put[Any]:
        """Store a value under a name."""
        return self._stored.put_named(value, name, replace=replace)

    def get(self, name: str) -> Any:
        """The value of a name."""
        return self._stored.get(name)

    def refer(self, name: str) -> Put[Any]:
        """A reference to the value of a name."""
        return self._stored.refer(name)

    def forget(self, name: str) -> None:
        """Remove the value of a name."""
        self._stored.forget(name)

    def store(self, name: str, parts: Sequence[Buffer]) -> Constant:
        """Store data in the open session."""
        return self._stored.store(name, parts)

    def holds(self, future: Future[Any]) -> bool:
        """Whether what a future that is done stands for is right, as far as it is known."""
        return self._runs.renewing.holds(future)

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
            self._cache.close()
            self._watched.leave(self._connection, told)
        finally:
            self._watched.close()
            if self._engine is not None:
                self._engine.stop()
            self._callbacks.close()
            signals.forget(id(self))

    def remove_cached(self, opaque_ids: Sequence[bytes]) -> int:
        """Delete data of the cache, and what the index says of it; returns how much is gone."""
        return self._cache.remove(opaque_ids)

    def read_cached(self, opaque_ids: Sequence[bytes]) -> dict[bytes, Buffer]:
        """Data of the cache, as far as the engine has it."""
        return self._cache.read(opaque_ids)

    # --- without running anything ---------------------------------------------------------------

    def inquire(self, values: Sequence[Any], asked: str) -> Inquiry:
        """Look some values up, and run nothing."""
        return self._surveyor.inquire(values, asked)

    def inquired(self) -> Inquiry:
        """What was found of what was asked for last."""
        return self._surveyor.inquired()

    def estimate(self, values: Sequence[Any], inquiry: Inquiry) -> Estimate:
        """What some values will take, of which that was found."""
        return self._surveyor.estimate(values, inquiry)

    def _connect(
        self, payloads: PayloadMode, extensions: bool, connect_timeout: float
    ) -> Orchestrator:
        # Imported here: gRPC takes a third of a second, in which the engine starts too.
        from armoflow.orchestrator.orchestrator import Orchestrator
        from armoflow.protocol.connect import connect
        from armoflow.protocol.submission import WireOptions

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

        return self._loop.open(begin(), lambda orchestrator: orchestrator.close())

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
            read=self._stored.read,
            options=self._session_options,
            cache=self._cache.open,
            notes=RunNotes(self.endpoint) if self._lasting else None,
        )

    def submit_named(self, value: Any, name: str, *, replace: bool) -> Future[Any]:
        """Begin a named run, join it, or go on with it."""
        self._surveyor.keep_named_to_budget(value, name)
        self._surveyor.tell_of_backups(value, name)
        return self._named.submit(value, name, self._blocks.here(), replace=replace)

    def attach(self, name: str) -> Future[Any]:
        """The future of a named run."""
        return self._named.attach(name)

    def resume(self, name: str) -> Future[Any]:
        """The future of a named run of which what failed runs again."""
        return self._named.resume(name)

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
