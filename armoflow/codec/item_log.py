"""What became of each item of a task that runs several: name, position, duration, state, attempts.

An engine tells of tasks. Of what one task runs (the items of a batch, the calls of a pack, the
steps of a chain, the calls of a graph that it began itself) it knows nothing, so the task says so
itself, behind the slots of its first output (see :mod:`armoflow.codec.envelope`); what was quick is
told together, so that a log costs next to nothing. Values are deleted when nobody needs them, but
names last: of a task with items that failed, or were tried again, a small result of its own is
left, whose name tells of them (:class:`ItemSummary`) and whose data is the log, with the first
errors in slots (:mod:`armoflow.codec.kept_errors`).

To read one: download a result's data with the calls that every ArmoniK serves, and give it to
:func:`read_items`. A single item that succeeded at once leaves no log: the engine tells all of it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from armoflow.codec.container import Buffer
from armoflow.codec.envelope import Cell, pack_envelope, unpack_told
from armoflow.codec.positions import Positions, item_at, label, position_of
from armoflow.config import DURATION_LIMIT
from armoflow.errors import EnvelopeError

QUICK = 0.0001
"""Seconds: neighbours that take less together are told together."""

PREFIX = "items/"
"""Begins the name of a result that is there for its log."""

_NAME = 200
"""Characters of such a name."""

_MOST = 10**15
"""Of items, or attempts, that a log may tell of."""

_SUMMARY = re.compile(
    rf"{PREFIX}(\d{{1,15}}) of (\d{{1,15}}) failed(?:, (\d{{1,15}}) tried again)?(?:: (.*))?",
    re.DOTALL,
)


class ItemState(enum.IntEnum):
    """How an item ended."""

    COMPLETED = 0
    FAILED = 1
    SKIPPED = 2  # an input of it had failed


class ItemRecord(NamedTuple):
    """What became of an item, or of several that follow one another.

    Attributes:
        name: The name of its task, as the user wrote it.
        item: Its position, if it belongs to a collection; of several, the first one's.
        seconds: How long it ran, all attempts together; of several, all of these.
        state: How it ended.
        attempts: How often it was tried.
        items: How many these are: more than one only where quick ones stand side by side.
    """

    name: str
    item: int | None
    seconds: float
    state: ItemState = ItemState.COMPLETED
    attempts: int = 1
    items: int = 1

    @property
    def label(self) -> str:
        """What errors call it.

        Example:
            >>> ItemRecord("load", 3, 0.1).label, ItemRecord("load", None, 0.1).label
            ('load[3]', 'load')
        """
        return self.name if self.item is None else f"{self.name}[{self.item}]"


class ItemSummary(NamedTuple):
    """What the name of a log says.

    Attributes:
        items: How many items the task has run.
        failed: How many of these have failed.
        names: What errors call these; not all where they are many.
        repeated: How many items have needed more than one attempt.
    """

    items: int
    failed: int
    names: Sequence[str]
    repeated: int = 0


class Section:
    """The items of one step of a task, or the calls of one name in a graph, in their order.

    Args:
        name: Of the task, as the user wrote it.
        positions: Where they are, if they belong to a collection.

    Attributes:
        runs: Count and microseconds of one or more items, again and again.
        special: State and attempts of those that did not just complete.
        length: How many items there are.
    """

    __slots__ = ("_places", "_together", "length", "name", "positions", "runs", "special")

    def __init__(self, name: str, positions: Positions | None) -> None:
        self.name = name
        self.positions = positions
        self.runs: list[float] = []
        self.special: dict[int, tuple[int, int]] = {}
        self.length = 0
        self._places: dict[int, int] = {}
        self._together = False

    def add(self, seconds: float, count: int = 1) -> None:
        """The next items have taken so long, all of them together; there may be none."""
        if count <= 0:
            return
        quick = seconds < QUICK
        if quick and self._together:
            self.runs[-2] += count
            self.runs[-1] += seconds * 1e6
        else:
            self.runs += (count, seconds * 1e6)
        self._together = quick
        self.length += count

    def spend(self, item: int, seconds: float) -> None:
        """An attempt of an item has taken so long; it may be the next one, or have waited."""
        place = self._places.get(item)
        if place is not None:
            self.runs[place] += seconds * 1e6
        else:
            self._together = False
            self.add(seconds)

    def wait(self, item: int) -> None:
        """The item that was added last is tried again, after others."""
        self._together = False
        self._places.setdefault(item, len(self.runs) - 1)

    def mark(self, item: int, state: ItemState, attempts: int) -> None:
        """An item did not just complete."""
        self.special[item] = state, attempts

    def pack(self) -> list[Any]:
        """As it travels."""
        special = [part for item, told in self.special.items() for part in (item, *told)]
        return [self.name, self.positions, [round(part) for part in self.runs], special]


class ItemLog:
    """What became of the items of one task.

    Example:
        >>> log = ItemLog()
        >>> items = log.section("load", 10)
        >>> items.add(0.5); items.add(0.25); items.add(0.00002, 2)
        >>> items.mark(1, ItemState.FAILED, 3)
        >>> records = list(read_log(log.pack()))
        >>> [(each.label, each.seconds, each.state.name, each.attempts) for each in records[:2]]
        [('load[10]', 0.5, 'COMPLETED', 1), ('load[11]', 0.25, 'FAILED', 3)]
        >>> records[2].items
        2
        >>> log.name
        'items/1 of 4 failed, 1 tried again: load[11]'
    """

    def __init__(self) -> None:
        self._sections: list[Section] = []
        self._calls: dict[str, Section] = {}

    def section(self, name: str, positions: Positions | None) -> Section:
        """The items of another step."""
        section = Section(name, positions)
        self._sections.append(section)
        return section

    def call(
        self, name: str, item: int | None, seconds: float, state: ItemState, attempts: int
    ) -> None:
        """A call of the task's own graph, or an item of a collection of it, has ended here."""
        section = self._calls.get(name)
        if section is None or item != _next(section):
            section = self._calls[name] = self.section(name, item)
        if state or attempts > 1:
            section.mark(section.length, state, attempts)
        section.add(seconds)

    def fail(self, name: str, item: int | None) -> None:
        """What a call has returned, or the graph that it is, cannot be: it has no value after all.

        Of calls of one name that are no items it is the last one.
        """
        for section in reversed(self._sections):
            place = section.length - 1 if item is None else item_at(section.positions or 0, item)
            if section.name == name and 0 <= place < section.length:
                _, attempts = section.special.get(place, (0, 1))
                section.mark(place, ItemState.FAILED, attempts)
                return

    @property
    def tells(self) -> bool:
        """Whether it says more than an engine knows of the task."""
        items = 0
        for section in self._sections:  # asked of every task
            if section.special:
                return True
            items += section.length
        return items > 1

    @property
    def lasts(self) -> bool:
        """Whether it is to outlive the task's values: an item has failed, or was tried again."""
        return any(
            state == ItemState.FAILED or attempts > 1
            for section in self._sections
            for state, attempts in section.special.values()
        )

    @property
    def name(self) -> str:
        """The name of a result that is there for this log: an :class:`ItemSummary`."""
        total = sum(section.length for section in self._sections)
        failed = [
            label(section.name, section.positions, item)
            for section in self._sections
            for item, (state, _) in section.special.items()
            if state == ItemState.FAILED
        ]
        told = [told for section in self._sections for told in section.special.values()]
        repeated = sum(attempts > 1 for _, attempts in told)
        again = f", {repeated} tried again" if repeated else ""
        names = f": {', '.join(failed)}" if failed else ""
        return f"{PREFIX}{len(failed)} of {total} failed{again}{names}"[:_NAME]

    def pack(self) -> list[Any]:
        """As it travels."""
        return [section.pack() for section in self._sections if section.length]

    def data(self, errors: Sequence[Cell] = ()) -> list[Buffer]:
        """The data of a result that is there for this log, with why items have failed."""
        return pack_envelope(errors, log=self.pack())


def _next(section: Section) -> int | None:
    """The position of the next item of a section of neighbours."""
    first = section.positions
    return first + section.length if isinstance(first, int) else None


def read_items(data: Buffer) -> list[ItemRecord]:
    """What became of the items of the task that made a result, as far as the result says.

    Args:
        data: All data of a result: an output of a task, or one that is there for a log.

    Returns:
        In the order of the task's steps and items; nothing if the result has no log.

    Raises:
        EnvelopeError: If it was not written by armoflow.
    """
    _, told = unpack_told(data)
    try:
        records = list(read_log(told.get("log", ())))
        if not all(map(_is_sound, records)):
            raise ValueError("of an item it says what cannot be")
    except (TypeError, ValueError, LookupError) as error:
        raise EnvelopeError(f"stored data has a malformed log of its items: {error}") from error
    return records


def _is_sound(record: ItemRecord) -> bool:
    name, item, seconds, _, attempts, items = record
    return (
        type(name) is str
        and (item is None or type(item) is int)
        and 0 <= seconds < DURATION_LIMIT
        and type(attempts) is int
        and 0 <= attempts <= _MOST
        and type(items) is int
        and 0 < items <= _MOST
    )


def read_log(packed: Sequence[Sequence[Any]]) -> Iterator[ItemRecord]:
    """What :meth:`ItemLog.pack` has laid out."""
    for name, positions, runs, told in packed:
        columns = told[::3], told[1::3], told[2::3]
        special = {item: (state, attempts) for item, state, attempts in zip(*columns, strict=True)}
        item = 0
        for count, microseconds in zip(runs[::2], runs[1::2], strict=True):
            seconds = microseconds * 1e-6
            for part, one in _parts(item, count, special, positions):
                state, attempts = special.get(part, (ItemState.COMPLETED, 1))
                position = None if positions is None else position_of(positions, part)
                yield ItemRecord(name, position, seconds, ItemState(state), attempts, one)
                seconds = 0.0  # of items that are told together the first ones have all of it
            item += count


def _parts(
    item: int, count: int, special: Mapping[int, Any], positions: Positions | None
) -> Iterator[tuple[int, int]]:
    """Cut items that are told together where one of them did not just complete, and at gaps."""
    end = item + count
    cuts = {item, end}
    if count > 1:
        cuts.update(edge for one in special if item <= one < end for edge in (one, one + 1))
        if positions is not None and not isinstance(positions, int):
            cuts.update(n for n in range(item + 1, end) if positions[n - 1] + 1 < positions[n])
    for start, stop in pairwise(sorted(cuts)):
        yield start, stop - start


def tells_of_failures(name: str) -> bool:
    """Whether a result's name says that items have failed of the task that created it.

    Example:
        >>> tells_of_failures("items/1 of 4 failed: load[11]")
        True
        >>> tells_of_failures("items/0 of 4 failed"), tells_of_failures("output/load")
        (False, False)
    """
    return name.startswith(PREFIX) and not name.startswith(f"{PREFIX}0 ")


def told_failures(names: Iterable[str]) -> bool:
    """Whether one of the results that a task created tells by its name that items have failed."""
    logs = [name for name in names if name.startswith(PREFIX)]
    return bool(logs) and any(map(tells_of_failures, logs))


def read_summary(name: str) -> ItemSummary | None:
    """What a result's name says of items; None if it is not there for a log.

    Example:
        >>> read_summary("items/2 of 1000 failed: f[3], f[17]")
        ItemSummary(items=1000, failed=2, names=['f[3]', 'f[17]'], repeated=0)
        >>> read_summary("items/0 of 8 failed, 3 tried again").repeated
        3
        >>> read_summary("output/load") is None
        True
    """
    found = _SUMMARY.fullmatch(name)
    if found is None:
        return None
    failed, total, repeated, names = found.groups()
    shown = names.split(", ") if names else []
    return ItemSummary(int(total), int(failed), shown, int(repeated or 0))
