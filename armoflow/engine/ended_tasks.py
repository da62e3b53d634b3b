"""Which tasks have ended, for who asks again and again; lives in the event loop.

The journal has no index but the ids: to ask it what has ended since some time is to go over all
tasks of a session. So it is asked once, when somebody begins to follow a session. From then on the
engine notes what it commits, for as long as it is asked.
"""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from armoflow.engine.records import TaskRecord

LISTS: Final = 16
"""Lists that are kept; of more, that goes which was asked for longest ago."""

HELD: Final = 200_000
"""Tasks that are noted for who does not fetch them."""

KEPT: Final = 300.0
"""Seconds for which nobody has to ask."""


class EndedList:
    """Tasks of a session that have ended, and that one reader was not told of yet.

    A reader says how many it has: if a reply was lost, it is told the same again.

    Args:
        session_id: The session.

    Attributes:
        session_id: As given.
        id: Its name.
        asked: When it was asked for last.

    Example:
        >>> ended = EndedList("s")
        >>> ended.begin([7, 9])
        >>> ended.note("t3")
        >>> ended.page(0, 2), ended.page(2, 2), ended.size
        (([7, 9], []), ([], ['t3']), 3)
    """

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.id = secrets.token_hex(8)
        self.asked = 0.0
        self._numbers = array("q")
        self._before = 0  # so many had ended before
        self._noted: list[str] = []
        self._gone = 0  # of what was noted, so many were told

    def begin(self, numbers: Iterable[int]) -> None:
        """Say which had ended before, by the numbers of their rows."""
        self._numbers = array("q", numbers)
        self._before = len(self._numbers)

    def note(self, task_id: str) -> None:
        """One more has ended."""
        self._noted.append(task_id)

    @property
    def size(self) -> int:
        """How many there were since it began."""
        return self._before + self._gone + len(self._noted)

    @property
    def held(self) -> int:
        """How many are noted."""
        return len(self._noted)

    def page(self, position: int, limit: int) -> tuple[Sequence[int], Sequence[str]]:
        """Those from a position on: numbers of rows, or ids; what is before has arrived."""
        if position < self._before:
            return self._numbers[position : position + limit].tolist(), []
        self._numbers = array("q")
        told = max(position - self._before - self._gone, 0)
        del self._noted[:told]
        self._gone += told
        return [], self._noted[:limit]


class EndedLists:
    """The lists of all readers.

    Args:
        clock: Tells seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lists: dict[str, EndedList] = {}

    def open(self, session_id: str) -> EndedList:
        """A list of what ends from now on."""
        while len(self._lists) >= LISTS:
            del self._lists[min(self._lists, key=lambda each: self._lists[each].asked)]
        ended = EndedList(session_id)
        ended.asked = self._clock()
        self._lists[ended.id] = ended
        return ended

    def find(self, list_id: str, session_id: str) -> EndedList | None:
        """A list that was opened, if it is still kept."""
        ended = self._lists.get(list_id)
        if ended is None or ended.session_id != session_id:
            return None
        ended.asked = self._clock()
        return ended

    def committed(self, tasks: Iterable[TaskRecord]) -> None:
        """These have ended, and what they are was written."""
        if not self._lists:
            return
        latest = self._clock() - KEPT
        for ended in [*self._lists.values()]:
            if ended.asked < latest or ended.held > HELD:
                del self._lists[ended.id]
        by_session: dict[str, list[EndedList]] = {}
        for ended in self._lists.values():
            by_session.setdefault(ended.session_id, []).append(ended)
        for task in tasks:
            for ended in by_session.get(task.session_id, ()):
                ended.note(task.id)
