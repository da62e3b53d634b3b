"""How a client comes to work on a named run: it begins it, joins it, or takes it up again.

Others may do the same meanwhile: what was read is read again until nobody has changed it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from armoflow.client.open_run import OpenRun
from armoflow.client.run_again import RunAgain
from armoflow.errors import EngineError, NamedRunError
from armoflow.orchestrator.named.manifest import Head, ResultSlots
from armoflow.orchestrator.named.session import RunSession, sessions_of
from armoflow.protocol.submission import WireOptions
from armoflow.protocol.transport import Transport
from armoflow.run_notes import RunNotes, what_was

Asked: TypeAlias = "Sequence[ResultSlots] | None"
"""Where the values are that a run was asked for; None: that was not planned."""


class RunEntry:
    """Opens the named runs of one client; lives in the loop's thread.

    Args:
        connect: Opens a connection to its engine.
        options: Default task options of its sessions.
        notes: Where runs are noted; None: they go with this client.

    Attributes:
        open: Those that the client works on.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Transport]],
        options: WireOptions,
        notes: RunNotes | None,
    ) -> None:
        self._connect = connect
        self._options = options
        self._notes = notes
        self.open: list[OpenRun] = []

    async def begin_or_join(
        self, name: str, head: Head, replace: bool
    ) -> tuple[OpenRun, Asked, int | None]:
        """Begin a run, or join it; with the epoch to be planned, if one is."""
        while True:
            run, epoch = await self._begin(name, head, replace)
            if epoch is not None:
                return run, None, epoch
            if run.is_current:
                return run, run.session.asked_for(), None
            await self._leave(run)

    async def attach(self, name: str) -> tuple[OpenRun, Asked]:
        """Join a run that somebody has begun."""
        while True:
            run = await self._join(name)
            if run.is_current:
                return run, run.session.asked_for()
            await self._leave(run)

    async def resume(self, name: str) -> tuple[OpenRun, Asked, RunAgain | None]:
        """Join a run that somebody has begun, to run again what has failed."""
        while True:
            run = await self._join(name)
            await run.session.unpause()
            if run.session.planned or not await run.session.being_planned():
                await run.session.settle_failures()
                again = await RunAgain.look(run)
                if run.is_current and (again is None or await again.take_the_say()):
                    return run, run.session.asked_for(), again
            await self._leave(run)

    async def _begin(self, name: str, head: Head, replace: bool) -> tuple[OpenRun, int | None]:
        transport: Transport = await self._connect()
        try:
            session = await RunSession.find(transport, name)
            if session is None:
                session = await RunSession.open(transport, name, self._options)
            epoch = await self._decide(session, name, head, replace)
            return await self._enter(name, session, transport), epoch
        except BaseException:
            await transport.close()
            raise

    async def _decide(
        self, session: RunSession, name: str, head: Head, replace: bool
    ) -> int | None:
        """Begin an epoch of a run, if it has to be planned; returns its number."""
        while True:
            await session.read()
            before, at_work = session.manifest.head, False
            if before is not None:
                head = head._replace(seal=before.seal)
                same = before.graph == head.graph
                planned = same and await session.wait_until_planned()
                epoch = session.manifest.epoch
                if planned and await session.has_come():
                    return None
                await session.refresh()
                if planned and not session.planned:
                    continue  # somebody else has begun to plan it since
                if planned and not session.failed:
                    return None
                if not same and (session.running or await session.being_planned()):
                    if not replace:
                        raise _under_way(name)
                    await session.refresh()
                    at_work = session.may_grow
                if session.manifest.epoch != epoch:
                    continue  # the same
            begun = await session.begin(head)
            if begun is not None:
                if at_work:
                    await session.settle_submissions()
                return begun

    async def _join(self, name: str) -> OpenRun:
        transport: Transport = await self._connect()
        try:
            session = await RunSession.find(transport, name)
            if session is None:
                ended = await sessions_of(transport, name)
                how = "was cancelled, or has ended" if ended else "is not there"
                note = None if self._notes is None else self._notes.read(name)
                was = "" if note is None or ended else f" any more{what_was(note)}"
                raise NamedRunError(
                    f"run {name!r} {how}{was}: client.submit(graph, name={name!r}) begins it"
                )
            await session.read()
            if session.manifest.head is not None and not await session.wait_until_planned():
                await session.take_over()
            if not await session.has_come():
                await session.refresh()
            return await self._enter(name, session, transport)
        except BaseException:
            await transport.close()
            raise

    async def _enter(self, name: str, session: RunSession, transport: Transport) -> OpenRun:
        """Work on a run from here on."""
        from armoflow.orchestrator.orchestrator import Orchestrator

        head = session.manifest.head
        if head is None:
            raise NamedRunError(f"run {name!r} has just been begun, and nothing is known of it yet")
        orchestrator = Orchestrator(transport, self._options, head.seal, shared=session.id)
        await orchestrator.session()
        run = OpenRun(name, session, orchestrator)
        await run.take_over()
        self.open.append(run)
        self.note(run, "running")
        return run

    async def _leave(self, run: OpenRun) -> None:
        """Somebody else plans it, or runs it again, since it was read: it is to be read again."""
        self.open.remove(run)
        await run.orchestrator.close()

    def note(self, run: OpenRun, state: str) -> None:
        """Write down how a run is."""
        if self._notes is not None:
            self._notes.write(run.name, run.session.id, run.head.name, state)

    async def note_end(self, run: OpenRun) -> None:
        """A run whose session somebody has ended, or purged, has not failed by itself."""
        try:
            sessions = await sessions_of(run.orchestrator.transport, run.name)
        except EngineError:
            return  # "failed" was noted, as far as it is known
        if not any(session.open for session in sessions if session.id == run.session.id):
            self.note(run, "ended by somebody")


def _under_way(name: str) -> NamedRunError:
    return NamedRunError(
        f"run {name!r} is under way with another graph: wait for it, client.attach({name!r}), say "
        "replace=True to put this one in its place, or choose another name"
    )
