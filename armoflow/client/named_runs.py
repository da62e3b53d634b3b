"""Named runs: graphs that go on without their client, and that another one goes on with.

Each has a session of its own, and a connection of its own for as long as this client plans it or
waits for it: what is not named knows nothing of it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from armoflow.client.caching import reference_keys, unless_unusable
from armoflow.client.client_environment import DETACH_VARIABLE
from armoflow.client.future import Future
from armoflow.client.inquiry import Inquiry
from armoflow.client.loop import CallbackThread, LoopThread
from armoflow.client.open_run import OpenRun
from armoflow.client.planned_future import FutureOrigin
from armoflow.client.renewing import lost
from armoflow.client.run_entry import Asked, RunEntry
from armoflow.client.run_references import NO_SESSION, RunReferences
from armoflow.client.streams import tell
from armoflow.client.validate import Survey
from armoflow.codec.container import Buffer
from armoflow.codec.seal import new_key
from armoflow.errors import ClientClosedError, NamedRunError, StaleCacheError
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.graph import Graph
from armoflow.options import TaskOptions, merge_options
from armoflow.orchestrator.caching.account import Account
from armoflow.orchestrator.caching.hits import CachedPlan
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.named.manifest import Head
from armoflow.orchestrator.named.recorder import PlanRecorder
from armoflow.orchestrator.named.restored import KnownValues
from armoflow.orchestrator.named.run_keys import RunKeys
from armoflow.orchestrator.named.session import this_planner
from armoflow.orchestrator.outcomes import ItemOutcome, Names, has_failed
from armoflow.orchestrator.planning import dynamic
from armoflow.orchestrator.planning.both_known import BothKnown
from armoflow.orchestrator.planning.plan_settings import PlanSettings
from armoflow.orchestrator.planning.planner import Planner
from armoflow.orchestrator.targets import WaitingTarget
from armoflow.protocol.submission import WireOptions
from armoflow.protocol.transport import Transport
from armoflow.run_notes import RunNotes

if TYPE_CHECKING:
    from armoflow.client.client import Client
    from armoflow.orchestrator.caching.cache import Cache
    from armoflow.orchestrator.orchestrator import Orchestrator


logger = logging.getLogger(__name__)


_NOT_ASKED = "it takes what has ended under its name"
"""What :meth:`Future.explain` says of it."""


class LeavingFuture(Future[Any]):
    """A future of ``armoflow run --detach``: who waits for it leaves."""

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What :meth:`result` would raise, if it is done; else the program ends."""
        if not self.done():
            names = self.client.detach()
            left = ", ".join(f"armoflow attach {shlex.quote(name)}" for name in names)
            tell(sys.stderr, f"armoflow: left to the engine; to wait for it: {left}")
            raise SystemExit(0)
        return super().exception(timeout)


class NamedRuns:
    """The named runs of one client.

    Args:
        client: The client.
        loop: Its loop.
        callbacks: Calls what is to be called when futures are done.
        connect: Opens a connection to its engine.
        read: Reads the data of what was put.
        options: Default task options of its sessions.
        cache: The client's cache, as a run asks it.
        notes: Where runs are noted; None: they go with this client.
    """

    def __init__(
        self,
        client: Client,
        loop: LoopThread,
        callbacks: CallbackThread,
        *,
        connect: Callable[[], Awaitable[Transport]],
        read: Callable[[Constant], Any],
        options: WireOptions,
        cache: Callable[[Orchestrator], Cache],
        notes: RunNotes | None,
    ) -> None:
        self._cache = cache
        self._client = client
        self._loop = loop
        self._callbacks = callbacks
        self._read = read
        self._entry = RunEntry(connect, options, notes)
        self._retiring: set[asyncio.Task[None]] = set()

    # --- the caller's thread --------------------------------------------------------------------

    def submit(
        self,
        value: Delayed[Any] | DelayedList[Any],
        name: str,
        settings: PlanSettings,
        replace: bool,
    ) -> Future[Any]:
        """Begin a run, join it, or go on with it."""
        keys = RunKeys(settings.options, reference_keys(self._client, self._read))
        graph = keys.graph(value)
        for node in Graph(value):
            keys.of(node)  # what has no key is named before anything is sent
        whole = isinstance(value, Delayed) or dynamic.is_dynamic(value.node)
        head = Head(
            *(graph, keys.root(value), value.output, value.node.name, whole),
            new_key(),
            this_planner(),
        )
        run, asked, epoch = self._loop.call(self._entry.begin_or_join(name, head, replace))
        future = self._future(run, Names.of(value.node))
        future.shows(value)
        if epoch is None:
            self._loop.run(lambda: self._wait_for(run, asked, future))
        else:
            options = merge_options(TaskOptions(keep=True), settings.options)
            seal = run.head.seal
            future.may_be_stale(functools.partial(self._anew, run, value, settings))
            settings = dataclasses.replace(settings, options=options, key=seal)
            self._plan(run, epoch, value, keys, settings=settings, future=future)
        return future

    def attach(self, name: str) -> Future[Any]:
        """The future of a run that somebody has begun."""
        run, asked = self._loop.call(self._entry.attach(name))
        future = self._future(run, Names(run.head.name))
        self._loop.run(lambda: self._wait_for(run, asked, future))
        return future

    def resume(self, name: str) -> Future[Any]:
        """The future of a run that somebody has begun, of which what failed runs again."""
        run, asked, again = self._loop.call(self._entry.resume(name))
        future = self._future(run, Names(run.head.name))
        if again is None:
            self._loop.run(lambda: self._wait_for(run, asked, future))
        else:
            again.run(self._loop, self._settling(run, future))
        return future

    def lay_out(self) -> list[str]:
        """Wait until the engine has all of these runs; returns their names.

        Raises:
            ArmoflowError: If a plan could not be made.
        """

        async def wait() -> list[str]:
            for run in list(self._entry.open):
                if run.recorder is not None:
                    await run.recorder.laid_out.wait()
                    if run.recorder.error is not None:
                        raise run.recorder.error
            return [run.name for run in self._entry.open]

        return self._loop.call(wait())

    def leave(self) -> None:
        """Wait until the engine has all of these runs, as far as their plans can be made."""
        try:
            self.lay_out()
        except Exception as error:  # whatever an argument raises when it is pickled
            logger.warning("a named run is not laid out whole: %s", error)

    def close(self) -> None:
        """Leave all of them to themselves."""

        async def close() -> None:
            if self._retiring:
                await asyncio.wait(set(self._retiring))
            open_, self._entry.open = self._entry.open, []
            for run in open_:
                await run.close(
                    ClientClosedError(
                        f"the client was closed; Client.attach({run.name!r}) waits on"
                    )
                )

        self._loop.call(close())

    def _wait_for(self, run: OpenRun, end: Asked, future: Future[Any]) -> None:
        """Let a future stand for what a run was asked for."""
        fetch = run.orchestrator.fetcher.fetch
        target = run.target = WaitingTarget(None, fetch, self._settling(run, future))
        if end is None:
            target.fail(_not_whole(run))
        else:
            target.place([run.piece(place) for place in end], run.head.whole)
            target.seal()

    # --- planning -------------------------------------------------------------------------------

    def _plan(
        self,
        run: OpenRun,
        epoch: int,
        value: Delayed[Any] | DelayedList[Any],
        keys: RunKeys,
        *,
        settings: PlanSettings,
        future: Future[Any],
    ) -> None:
        orchestrator, session = run.orchestrator, run.session
        skipping = [key for node in Graph(value) for key in keys.skipping(node)]
        places = self._loop.call(session.places(skipping))
        known = KnownValues(keys, places, run.tasks, session.partials())
        planner = Planner(orchestrator.book, settings, known)
        survey = self._survey(planner, value, settings)
        cached = None
        if survey.cached:
            look_up = functools.partial(self._look_up, run, value, known, settings, future)
            cached = unless_unusable(look_up)
        if cached is not None:
            planner = Planner(orchestrator.book, settings, BothKnown(known, cached))
            planner.tell(cached.made)
            survey = self._survey(planner, value, settings)
        store = functools.partial(self._store, run)
        planner.begin_with(known.partials)
        references = RunReferences(self._client, settings.key, store, self._read)
        planner.surroundings = survey.surroundings(references)

        def prepare() -> tuple[WaitingTarget, PlanRecorder]:
            settle = self._settling(run, future)
            target = WaitingTarget(value, orchestrator.fetcher.fetch, settle)
            recorder = run.record(target, epoch, keys)
            if run.session.running:
                run.following = asyncio.create_task(run.cancel_unneeded(recorder, known.taken))
            return target, recorder

        target, recorder = self._loop.run(prepare)
        orchestrator.run([target], planner, recorder=recorder)

    def _survey(self, planner: Planner, value: Any, settings: PlanSettings) -> Survey:
        assert settings.limits is not None
        survey = Survey(self._client, settings.options, settings.limits)
        planner.want([value], survey.visit)
        return survey

    def _look_up(
        self,
        run: OpenRun,
        value: Any,
        known: KnownValues,
        settings: PlanSettings,
        future: Future[Any],
    ) -> CachedPlan:
        """What the cache has of a graph, but of what has ended under its name."""
        orchestrator, cache = run.orchestrator, self._cache(run.orchestrator)
        references = reference_keys(self._client, self._read)
        cached = CachedPlan(
            *(cache, settings.options, references, self._loop.call, orchestrator.pipeline.put),
            known=known,
        )
        future.found(Inquiry(cached.look_up([value.node]), cache.index))
        return cached

    def _anew(
        self,
        run: OpenRun,
        value: Any,
        settings: PlanSettings,
        decoded: list[ItemOutcome],
    ) -> list[ItemOutcome]:
        """What has come of a run, gone on with where the cache was wrong."""
        error, cache = lost(decoded), run.orchestrator.cache
        if cache is None or not isinstance(error, StaleCacheError):
            return decoded
        before = len(cache.wrong)
        self._loop.call(cache.doubt(error))
        if len(cache.wrong) == before:
            return decoded
        again = self.submit(value, run.name, settings, replace=False)
        failed = again.exception()
        return again.outcomes() or [ItemOutcome(error=failed)]

    def _settling(self, run: OpenRun, future: Future[Any]) -> Callable[[WaitingTarget], None]:
        """Tell a future; then nobody needs the connection any more."""

        def settle(target: WaitingTarget) -> None:
            future.settle(target)
            failed = bool(target.error) or has_failed(target.pieces)
            self._entry.note(run, "failed" if failed else "done")
            if run in self._entry.open:
                self._retiring.add(task := asyncio.create_task(self._retire(run, failed)))
                task.add_done_callback(self._retiring.discard)

        return settle

    async def _retire(self, run: OpenRun, failed: bool) -> None:
        if failed:
            await self._entry.note_end(run)
        if run.recorder is not None:
            await run.recorder.laid_out.wait()
        if not failed:
            await run.orchestrator.freeing.all_well()
        if run in self._entry.open:
            self._entry.open.remove(run)
            await run.close(ClientClosedError("the run has ended"))

    def _store(self, run: OpenRun, name: str, parts: Sequence[Buffer]) -> Constant:
        return self._loop.call(run.orchestrator.store(name, parts))

    def _future(self, run: OpenRun, names: Names) -> Future[Any]:
        tally, seal = run.orchestrator.tally, run.head.seal
        origin = FutureOrigin(self._client, self._callbacks, NO_SESSION, seal, None, tally)
        kind = LeavingFuture if os.environ.get(DETACH_VARIABLE) else Future
        future: Future[Any] = kind(origin, names)
        account = Account(time.time(), uncached=Counter({(names.name, _NOT_ASKED): 1}))
        future.found(Inquiry(account))
        return future


def _not_whole(run: OpenRun) -> NamedRunError:
    manifest = run.session.manifest
    why = f" ({manifest.stopped})" if manifest.stopped else ""
    return NamedRunError(
        f"the plan of run {run.name!r} is not whole: its client ended{why} when "
        f"{len(manifest.tasks):,} tasks were planned. These go on; the rest is planned where the "
        f"graph is submitted again, client.submit(graph, name={run.name!r}) or armoflow resume "
        f"{run.name} SCRIPT"
    )
