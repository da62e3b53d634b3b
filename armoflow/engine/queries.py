"""List, count and read what the journal holds, off the event loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from armoflow.engine.filters import Filters
from armoflow.engine.records import (
    Partition,
    ResultRecord,
    SessionRecord,
    TaskRecord,
    TaskStatus,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of matches, and how many matches there are on all pages."""

    items: list[T]
    total: int


class Application(NamedTuple):
    """An application: a distinct quadruple in the options of tasks."""

    name: str
    namespace: str
    version: str
    service: str


class Queries:
    """Reads of committed rows; whoever needs a change that was just applied awaits it first.

    ``sort`` is a field as in :class:`~armoflow.engine.filters.Condition`; ties are broken by id,
    unset values come first. ``page`` counts from zero; ``page_size`` 0 gives the total only.
    """

    async def sessions(
        self,
        filters: Filters = (),
        *,
        sort: str = "id",
        descending: bool = False,
        page: int = 0,
        page_size: int = 100,
    ) -> Page[SessionRecord]:
        """Sessions that match."""
        raise NotImplementedError

    async def tasks(
        self,
        filters: Filters = (),
        *,
        sort: str = "id",
        descending: bool = False,
        page: int = 0,
        page_size: int = 100,
    ) -> Page[TaskRecord]:
        """Tasks that match."""
        raise NotImplementedError

    async def results(
        self,
        filters: Filters = (),
        *,
        sort: str = "id",
        descending: bool = False,
        page: int = 0,
        page_size: int = 100,
    ) -> Page[ResultRecord]:
        """Results that match."""
        raise NotImplementedError

    async def partitions(
        self,
        filters: Filters = (),
        *,
        sort: str = "id",
        descending: bool = False,
        page: int = 0,
        page_size: int = 100,
    ) -> Page[Partition]:
        """Partitions that match."""
        raise NotImplementedError

    async def applications(
        self,
        filters: Filters = (),
        *,
        sort: tuple[str, ...] = ("options.application_name",),
        descending: bool = False,
        page: int = 0,
        page_size: int = 100,
    ) -> Page[Application]:
        """Applications of the tasks that match (fields as of tasks)."""
        raise NotImplementedError

    async def count_tasks(self, filters: Filters = ()) -> dict[TaskStatus, int]:
        """How many matching tasks there are of each status; statuses without any are missing."""
        raise NotImplementedError

    async def read_tasks(self, ids: list[str]) -> dict[str, TaskRecord]:
        """Tasks by id; unknown ones are missing."""
        raise NotImplementedError

    async def read_results(self, ids: list[str]) -> dict[str, ResultRecord]:
        """Results by id; unknown ones are missing."""
        raise NotImplementedError
