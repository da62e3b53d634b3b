"""Collections flattened, cut and numbered: made of what collections can do already.

What is known where the graph is made is rearranged there, without a task. Where only the running
graph knows how many items there are, one task takes them all as a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any

from armoflow.errors import OptionError, TooManyFailuresError, shown
from armoflow.graph.collection import DelayedList, items, zip_items
from armoflow.graph.nodes import CollectionNode, MapNode, SourceNode, source_node
from armoflow.graph.task import task


def flatten(collection: DelayedList[Any]) -> DelayedList[Any]:
    """The items of all items, in their order."""
    return item_of.map(join_lists(collection.gather()))


def batched(collection: DelayedList[Any], size: int) -> DelayedList[list[Any]]:
    """Lists of so many items; the last one may be shorter.

    Raises:
        OptionError: If the size is not an integer of at least 1.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise OptionError(f"batched() needs a size of at least 1, not {shown(size)}")
    node = collection.node
    if isinstance(node, SourceNode):
        return items(cut_later(node.iterable, size))
    if node.length is None or node.sparse:
        return item_of.map(cut(collection.gather(), size))
    slices: Any = [collection[start : start + size] for start in range(0, node.length, size)]
    return items(slices)


def numbered(collection: DelayedList[Any], start: int) -> DelayedList[tuple[int, Any]]:
    """Pairs of a number and an item.

    Raises:
        OptionError: If the start is not an integer.
    """
    if isinstance(start, bool) or not isinstance(start, int):
        raise OptionError(f"enumerate() needs an integer to start with, not {shown(start)}")
    node = collection.node
    if node.sparse:
        return item_of.map(number(collection.gather(), start))
    numbers: Iterable[int] = From(start)
    if node.length is not None:
        numbers = range(start, start + node.length)
    return zip_items(numbers, collection)


def enough(collection: DelayedList[Any], wish: str) -> DelayedList[Any]:
    """The items of a map some of which may fail, unless too many do.

    Raises:
        OptionError: If it cannot be told how many there are to be.
    """
    node = collection.node
    share, on_failure = node.options.min_success, node.options.on_failure
    if on_failure is None or not on_failure.skips:
        raise OptionError(
            f"{wish}: min_success={share} is about items that are left out: say "
            "on_failure='skip' too"
        )
    source = source_node(node.sources[0]) if isinstance(node, MapNode) else node
    if node.length is None or (isinstance(source, CollectionNode) and source.sparse):
        raise OptionError(f"{wish}: min_success={share} needs a known number of items: give a list")
    return item_of.map(check_share(collection.gather(), node.length, share, node.name))


class From:
    """All integers from one on; can be read as often as one likes.

    Example:
        >>> list(islice(From(3), 2)), list(islice(From(3), 2))
        ([3, 4], [3, 4])
    """

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return count(self.start)


class BatchedIterable:
    """The items of an iterable in lists, read when it is read; can be read as often as that.

    Example:
        >>> list(BatchedIterable(range(5), 2))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, iterable: Iterable[Any], size: int) -> None:
        self.iterable = iterable
        self.size = size

    def __iter__(self) -> Iterator[list[Any]]:
        rest = iter(self.iterable)
        while batch := list(islice(rest, self.size)):
            yield batch


def cut_later(iterable: Iterable[Any], size: int) -> Iterable[list[Any]]:
    """The items of a local iterable in lists: at once where they are there, else as they are read.

    Example:
        >>> cut_later([1, 2, 3], 2)
        [[1, 2], [3]]
        >>> next(iter(cut_later(iter("abc"), 2)))
        ['a', 'b']
    """
    if isinstance(iterable, Sequence):
        return [list(iterable[start : start + size]) for start in range(0, len(iterable), size)]
    batches = BatchedIterable(iterable, size)
    return iter(batches) if isinstance(iterable, Iterator) else batches


# --- as tasks -------------------------------------------------------------------------------------


@task(name="flatten")
def join_lists(lists: list[Any]) -> list[Any]:
    """The items of some lists; a text is refused, whose letters nobody wants."""
    joined: list[Any] = []
    for position, inner in enumerate(lists):
        if isinstance(inner, (str, bytes)) or not isinstance(inner, Iterable):
            raise TypeError(
                f"flatten() needs items that hold items: item {position} is {inner!r:.80}, of "
                f"type {type(inner).__name__}; of a text, list(text) are its letters"
            )
        joined.extend(inner)
    return joined


@task(name="batched")
def cut(values: list[Any], size: int) -> list[list[Any]]:
    """A list in lists."""
    return list(BatchedIterable(values, size))


@task(name="enumerate")
def number(values: list[Any], start: int) -> list[tuple[int, Any]]:
    """The items of a list with their numbers."""
    return list(enumerate(values, start))


@task(name="min_success")
def check_share(values: list[Any], count: int, share: float, name: str) -> list[Any]:
    """The values of those that have succeeded."""
    failed, may_fail = count - len(values), int(count - share * count + 1e-9)
    if failed > may_fail:
        raise TooManyFailuresError(
            f"{failed} of {count} items of {name!r} failed: min_success={share} lets {may_fail} "
            "fail"
        )
    return values


@task(name="item")
def item_of(value: Any) -> Any:
    """An item of such a list."""
    return value
