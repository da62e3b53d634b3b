"""What a client shows to whoever watches: bars, output of tasks, spans, a report, a last line."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armoflow.client.call_spans import call_span
from armoflow.client.item_progress import ItemProgress
from armoflow.client.loop import LoopThread
from armoflow.client.output_display import Logs, ShownOutput, least_level
from armoflow.client.progress import Display, is_wanted
from armoflow.client.reporting import able_to_report, session_picture, tell, write_report
from armoflow.errors import GraphError
from armoflow.orchestrator.tally import Count
from armoflow.protocol.settings import ConnectionSettings
from armoflow.tracing import Labels

if TYPE_CHECKING:
    from armoflow.graph.render import Picture
    from armoflow.orchestrator.orchestrator import Orchestrator
    from armoflow.protocol.transport import Transport


class WatchedWork:
    """The work of one client, as it is shown.

    Args:
        name: What its sessions are called.
        progress: Show bars; None: where somebody watches.
        logs: Show what tasks write.
        report: Where a page about it is left at the end.

    Attributes:
        display: The bars, where they are shown.
    """

    def __init__(
        self, name: str, progress: bool | None, logs: Logs | None, report: Path | None
    ) -> None:
        self.display: Display | None = None
        self._name = name
        self._shows_bars = is_wanted(progress)
        self._items = ItemProgress()
        self._report = report
        self._kept_ready = ExitStack()
        least = least_level(logs)
        self._stored = None if logs is None else least
        self._output = None if least is None else ShownOutput(least, lambda: self.display)
        self._live = self._late = False

    def listen(self, transport: Transport) -> None:
        """Have what tasks write told, before there is a session."""
        if self._output is not None or self._shows_bars:
            transport.listen(self._hear, self._stored)
            self._live = "batch" in transport.info.extensions
            self._late = self._stored is not None and not self._live

    def begin(self, orchestrator: Orchestrator, loop: LoopThread) -> None:
        """The work begins."""
        self._orchestrator = orchestrator
        if self._report is not None:
            self._kept_ready.enter_context(able_to_report(loop))
        if self._shows_bars:
            overview = orchestrator.overview
            self.display = Display(self.counts, overview.reason, overview.refresh)

    def span(self, what: str, values: Sequence[Any]) -> AbstractContextManager[Labels]:
        """What a call does as a span, where the program traces; gives the trace of its tasks."""
        return call_span(what, values, self._name)

    def catch_up(self, loop: LoopThread) -> None:
        """What tasks have written belongs before their values."""
        if self._output is not None:
            if self._late:
                loop.call(self._orchestrator.catch_up())
            self._output.catch_up()

    def counts(self) -> dict[str, Count]:
        """How far it is, by the names of tasks."""
        counts = self._orchestrator.overview.counts()
        if self._live:
            self._items.fill(counts)
        return counts

    def _hear(self, passages: Sequence[Sequence[Any]]) -> None:
        rest = self._items.take(passages) if self._shows_bars else passages
        if rest and self._output is not None:
            self._output.hear(rest)

    def picture(self, connection: ConnectionSettings) -> Picture:
        """What was run so far, of the session that was opened last.

        Raises:
            GraphError: If nothing was.
        """
        session_id = self._orchestrator.last_session
        if session_id is None:
            raise GraphError("this client has run nothing yet: there is no graph to draw")
        return session_picture(connection, session_id)

    def end(self) -> str:
        """No more bars; returns what is to be said at the end."""
        display, self.display = self.display, None
        if display is None:
            return ""
        display.close()
        return display.summary()

    def leave(self, connection: ConnectionSettings, told: str) -> None:
        """Leave the report, if there is to be one, and say the last line."""
        session_id = self._orchestrator.last_session
        if self._report is not None and session_id is not None:
            write_report(connection, session_id, self._report, told)
        else:
            tell(told)

    def close(self) -> None:
        """Show no more output, leave no more reports."""
        self._kept_ready.close()
        if self._output is not None:
            self._output.close()
