"""Follows what viewers look at, at a pace that leaves the engine alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from weakref import WeakValueDictionary

from armoflow.dashboard import views
from armoflow.dashboard.feed import SessionFeed
from armoflow.dashboard.processes import Processes
from armoflow.errors import ArmoflowError
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.states import ENDED, grouped
from armoflow.report.collect import describe
from armoflow.report.html import Html
from armoflow.report.trace import SessionTrace

logger = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds between two looks."""

IDLE = 5.0
"""Seconds between two looks at what does not change."""

SHARE = 0.025
"""Of a processor: what looking may take of it, here and in the engine, while tasks run."""

LONGEST_REST = 5.0
"""Seconds that it is rested at most: what is shown shall not be older."""

SESSIONS = 30
"""Sessions that are listed: the newest."""

HEARTBEAT = 15.0
"""Seconds after which something is said to a viewer, lest it be gone and nobody notices."""


def rest(spent: float) -> float:
    """Seconds until it is looked again, after a look that took so many of a processor.

    Example:
        >>> rest(0.001), rest(0.05), rest(10.0)
        (1.0, 2.0, 5.0)
    """
    return min(max(spent / SHARE, PAUSE), LONGEST_REST)


class Watch:
    """Something that viewers look at.

    Attributes:
        parts: Of the page.
        ended: Nothing more is told.
    """

    def __init__(self) -> None:
        self.parts = views.PageParts()
        self.ended = False
        self._viewers = 0
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def viewed(self) -> Iterator[None]:
        """Somebody looks: it is followed meanwhile."""
        self._viewers += 1
        self._wanted.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follow())
        try:
            yield
        finally:
            self._viewers -= 1

    async def messages(self) -> AsyncIterator[dict[str, Any] | None]:
        """What has changed, as it comes; None now and then if nothing has."""
        version, told = 0, 0
        while not self.ended:
            changed = self._changed
            if version < self.parts.version:
                parts, version = self.parts.since(version), self.parts.version
                more, told = self._more(told)
                yield {"parts": parts, **more}
            try:
                await asyncio.wait_for(changed.wait(), HEARTBEAT)
            except asyncio.TimeoutError:
                yield None

    def wake(self) -> None:
        """The same, from another thread."""
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self.tell)

    def _more(self, told: int) -> tuple[dict[str, Any], int]:
        """What is told beside the parts to who was told so much of it; how much that is then."""
        return {}, told

    async def _follow(self) -> None:
        """Look again and again, as long as somebody does.

        It is never cancelled: a thread that asks would go on, beside that of the next viewer.
        """
        try:
            while self._viewers:
                self._wanted.clear()
                pause = await self._look_and_tell()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wanted.wait(), pause)
        finally:
            self._task = None

    async def _look_and_tell(self) -> float:
        begun = time.monotonic()
        try:
            pause = await self._look()
            trouble = ""
        except ArmoflowError as error:
            logger.info("the engine does not answer as it should: %s", error)
            pause, trouble = PAUSE, str(error)  # one that is started again soon shows
        except Exception as error:
            logger.exception("the dashboard failed to look")
            pause, trouble = IDLE, f"the dashboard failed: {error!r}"
        self.parts.set({"trouble": views.trouble(trouble)})
        self.tell()
        return max(pause - (time.monotonic() - begun), 0.05)

    async def _look(self) -> float:
        """Look once; how many seconds may pass from here to the next time."""
        raise NotImplementedError

    def tell(self) -> None:
        """Something has changed."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class SessionWatch(Watch):
    """A session.

    Args:
        feed: Asks for it.
        processes: What the engine takes of this machine, where that is known.
    """

    def __init__(self, feed: SessionFeed, processes: Processes | None) -> None:
        super().__init__()
        self.feed = feed
        self._processes = processes
        self._drawn = -1
        self._timeline = self._draw()
        self._chunks = 0

    async def _look(self) -> float:
        feed = self.feed
        parts, self._timeline, spent = await asyncio.to_thread(self._ask)
        self._chunks = len(feed.chunks)
        self.parts.set(parts)
        if not feed.calm:
            return rest(spent)
        return 0.0 if feed.behind else IDLE

    def _ask(self) -> tuple[dict[str, Html], dict[str, Any], float]:
        """Ask and draw.

        Returns:
            The parts, what the timeline is drawn into, and the seconds of a processor that all of
            it took, here and in the engine.
        """
        feed = self.feed
        begun, engine = time.thread_time(), feed.engine_seconds
        parts: dict[str, Html] = {}
        feed.glance()
        feed.read()
        known = feed.known
        if feed.ask_items() or known != self._drawn:
            if not feed.behind:
                feed.ask_results()
            parts = views.slow(feed)
            self._drawn = known
        parts |= views.quick(feed, feed.looked)
        if self._processes is not None:
            parts["machine"] = views.machine(self._processes.look())
        return parts, self._draw(), time.thread_time() - begun + feed.engine_seconds - engine

    def _draw(self) -> dict[str, Any]:
        """What the timeline is drawn into."""
        feed = self.feed
        live = feed.now_running(feed.looked)
        return {"known": feed.known, "live": live, "frame": feed.frame()}

    def _more(self, told: int) -> tuple[dict[str, Any], int]:
        # Of one moment: another thread may be ahead.
        chunks = self.feed.chunks[told : self._chunks]
        return {**self._timeline, "chunks": chunks, "anew": not told}, told + len(chunks)


class OverviewWatch(Watch):
    """The sessions of an engine, and its partitions.

    Args:
        inspection: Whom to ask.
        processes: See :class:`SessionWatch`.
    """

    def __init__(self, inspection: Inspection, processes: Processes | None) -> None:
        super().__init__()
        self._inspection = inspection
        self._processes = processes
        self._over: dict[str, SessionTrace] = {}

    async def _look(self) -> float:
        begun = time.monotonic()
        self.parts.set(await asyncio.to_thread(self._ask))
        return rest(time.monotonic() - begun)  # the engine takes most of it, to count

    def _ask(self) -> dict[str, Html]:
        inspection = self._inspection
        total, sessions = inspection.sessions(SESSIONS)
        traces = []
        for session in sessions:
            trace = self._over.get(session.session_id) or describe(inspection, session, {})
            traces.append(trace)
            over = trace.status != "running" and trace.total == sum(
                trace.counts[state] for state in ENDED
            )
            if over:  # nothing of it changes any more
                self._over[trace.id] = trace
        endpoint = inspection.settings.endpoint
        pods = inspection.info.pods
        counts = {name: grouped(inspection.counts(partition=name)) for name in pods}
        parts = views.sessions(traces, total, endpoint)
        parts["partitions"] = views.partitions(counts, pods)
        if self._processes is not None:
            parts["machine"] = views.machine(self._processes.look())
        return parts


class Hub:
    """What is watched.

    Args:
        inspection: Whom to ask.
        processes: Makes what tells of the engine's processes, where they are known.
    """

    def __init__(self, inspection: Inspection, processes: Callable[[], Processes | None]) -> None:
        self.inspection = inspection
        self.overview = OverviewWatch(inspection, processes())
        self._processes = processes
        # Never two of one session: a page asks for several things at once, and what only one of
        # two follows would not be found at the other.
        self._sessions: WeakValueDictionary[str, SessionWatch] = WeakValueDictionary()
        self._kept: dict[str, SessionWatch] = {}
        self._opening = asyncio.Lock()

    async def session(self, session_id: str) -> SessionWatch:
        """A session's watch: as long as it is followed, and of the last few that were asked for.

        Raises:
            ArmoflowError: If there is none with this id.
        """
        watch = self._sessions.get(session_id)
        if watch is None:
            async with self._opening:
                watch = self._sessions.get(session_id)
                if watch is None:
                    watch = await asyncio.to_thread(self._open, session_id)
                    self._sessions[session_id] = watch
        self._kept.pop(session_id, None)
        self._kept[session_id] = watch
        while len(self._kept) > KEPT:
            self._kept.pop(next(iter(self._kept)))
        return watch

    def end(self) -> None:
        """Let all viewers go; may be called in any thread, or by a signal."""
        for watch in (self.overview, *list(self._sessions.values())):
            watch.ended = True
            watch.wake()

    def _open(self, session_id: str) -> SessionWatch:
        session = self.inspection.session_of(session_id)
        return SessionWatch(SessionFeed(self.inspection, session), self._processes())


KEPT = 4
"""Sessions of which what was learnt is kept: a hundred thousand tasks take some 100 MB."""
