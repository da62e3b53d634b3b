"""Many values that do not exist yet, and what can be done with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload

from armoflow.errors import CollectionError, GraphError, OptionError, SignatureError, shown
from armoflow.foreign_keywords import FIRST_OF_ALL, refuse_arguments
from armoflow.graph import context
from armoflow.graph.delayed import Delayed
from armoflow.graph.lazy import Lazy
from armoflow.graph.nodes import (
    MISSING,
    CollectionNode,
    FilterNode,
    FoldNode,
    GatherNode,
    ItemNode,
    MapNode,
    ReduceNode,
    SliceNode,
    Source,
    SourceNode,
    ZipNode,
)
from armoflow.option_values import check_flag

if TYPE_CHECKING:
    from armoflow.graph.base_task import BaseTask
    from armoflow.graph.task import MultiTask, Task

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
U = TypeVar("U")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
ListsT = TypeVar("ListsT")


class DelayedList(Lazy, Generic[T_co]):
    """Many values that tasks will make: what ``task.map(items)`` gives.

    It is symbolic: a map of a million items is one node. Where the length is known, it can be
    counted, indexed, sliced and iterated; passed to a task it arrives as the list of its values.

    Attributes:
        node: The node that makes the items.
        output: Which of the outputs of each item it is.
    """

    __slots__ = ()

    node: CollectionNode

    def __init__(self, node: CollectionNode, output: int = 0) -> None:
        self.node = node
        self.output = output

    @overload
    def map(self, task: MultiTask[..., Any, Any, ListsT], /, **fixed: Any) -> ListsT: ...
    @overload
    def map(self, task: Task[..., U], /, **fixed: Any) -> DelayedList[U]: ...
    @overload
    def map(self, task: Callable[..., U], /, **fixed: Any) -> DelayedList[U]: ...

    def map(self, task: Any, /, **fixed: Any) -> Any:
        """Call a task for each item.

        Args:
            task: A task, or a plain function.
            fixed: Keyword arguments that are the same for every item.

        Example:
            >>> from armoflow.graph.task import task
            >>> items([1, 2, 3]).map(task(str))
            <DelayedList str, 3 items>
        """
        return _as_task(task).map(self, **fixed)

    @overload
    def starmap(self, task: MultiTask[..., Any, Any, ListsT], /, **fixed: Any) -> ListsT: ...
    @overload
    def starmap(self, task: Task[..., U], /, **fixed: Any) -> DelayedList[U]: ...
    @overload
    def starmap(self, task: Callable[..., U], /, **fixed: Any) -> DelayedList[U]: ...

    def starmap(self, task: Any, /, **fixed: Any) -> Any:
        """Call a task for each item, which is a tuple of its positional arguments."""
        return _as_task(task).starmap(self, **fixed)

    def filter(self, task: Callable[..., Any], /, **fixed: Any) -> DelayedList[T_co]:
        """Keep the items for which a task is true, in their order.

        How many are left is known only after it ran, so ``len``, indexing, slicing and ``zip`` are
        not possible on it; ``map``, ``filter``, ``reduce``, ``fold`` and ``gather`` are.
        """
        predicate = _single(task, "filter", ((None,), fixed))
        return DelayedList(FilterNode(predicate, as_source(self), fixed))

    @overload
    def reduce(
        self, task: Task[..., U], /, *, fan_in: int = 2, initial: Any = ...
    ) -> Delayed[U]: ...
    @overload
    def reduce(
        self, task: Callable[..., U], /, *, fan_in: int = 2, initial: Any = ...
    ) -> Delayed[U]: ...

    def reduce(
        self,
        task: Any,
        /,
        *further: NoReturn,
        fan_in: int = 2,
        initial: Any = MISSING,
        **others: NoReturn,
    ) -> Delayed[Any]:
        """Combine all items to one value with an associative task of two arguments, as a tree.

        Items are combined in their order, so the task need not be commutative. With one item the
        value is that item, and the task is not called.

        Args:
            task: Combines two values to one.
            fan_in: How many values one combining task takes.
            initial: Comes before the first item, once; the value of an empty collection. Without
                it, an empty collection raises TypeError when computed.
            further: What comes first is a keyword argument.
            others: There are none.

        Example:
            >>> import operator
            >>> items([1, 2, 3]).reduce(operator.add)
            <Delayed add>
        """
        refuse_arguments("reduce", ("fan_in", "initial"), others, further, FIRST_OF_ALL)
        if isinstance(fan_in, bool) or not isinstance(fan_in, int) or fan_in < 2:
            raise OptionError(f"fan_in must be an integer of at least 2, not {shown(fan_in)}")
        combine = _single(task, "reduce", ((None, None), {}))
        return Delayed(ReduceNode(combine, as_source(self), fan_in, initial))

    @overload
    def fold(self, task: Task[..., U], /, *, initial: Any = ...) -> Delayed[U]: ...
    @overload
    def fold(self, task: Callable[..., U], /, *, initial: Any = ...) -> Delayed[U]: ...

    def fold(
        self, task: Any, /, *further: NoReturn, initial: Any = MISSING, **others: NoReturn
    ) -> Delayed[Any]:
        """Combine all items strictly from left to right; for tasks that are not associative.

        Args:
            task: Takes the value so far and an item.
            initial: The value before the first item; without it, the first item.
            further: What comes first is a keyword argument.
            others: There are none.
        """
        refuse_arguments("fold", ("initial",), others, further, FIRST_OF_ALL)
        combine = _single(task, "fold", ((None, None), {}))
        return Delayed(FoldNode(combine, as_source(self), initial))

    def gather(self) -> Delayed[list[T_co]]:
        """All items as one list; what ``filter`` dropped is left out."""
        return Delayed(GatherNode(as_source(self)))

    def zip(
        self, *others: Iterable[Any] | Lazy, strict: bool = False
    ) -> DelayedList[tuple[Any, ...]]:
        """Tuples of an item of this and one of each other, up to the shortest.

        Args:
            others: Collections, lazy values or local iterables.
            strict: They must be of the same length: see :func:`zip_items`.
        """
        return zip_items(self, *others, strict=strict)

    def enumerate(self, start: int = 0) -> DelayedList[tuple[int, T_co]]:
        """Pairs of a number and an item, as Python's ``enumerate`` gives.

        Args:
            start: The first number.

        Example:
            >>> items("abc").enumerate(1)
            <DelayedList zip, 3 items>
        """
        numbered: DelayedList[tuple[int, T_co]] = _rearranging().numbered(self, start)
        return numbered

    def batched(self, size: int) -> DelayedList[list[T_co]]:
        """Lists of so many items each; the last one may be shorter.

        Args:
            size: How many items one holds.

        Example:
            >>> items(range(10)).map(abs).batched(4)
            <DelayedList list, 3 items>
        """
        lists: DelayedList[list[T_co]] = _rearranging().batched(self, size)
        return lists

    def flatten(self: DelayedList[Iterable[U]]) -> DelayedList[U]:
        """The items of all items, in their order, as ``itertools.chain.from_iterable`` gives.

        How many there are is known only when the graph runs, as after :meth:`filter`. One task
        takes all of them as a list, so together they have to fit into a worker's memory. An item
        that holds none, or is a text, is a ``TypeError`` when it is computed.

        Example:
            >>> items(["to be", "or not"]).map(str.split).flatten().map(len)
            <DelayedList len>
        """
        flat: DelayedList[U] = _rearranging().flatten(self)
        return flat

    def compute(self, *, timeout: float | None = None, **others: NoReturn) -> list[T_co]:
        """Run the graph that makes these values, and wait for them."""
        refuse_arguments("compute", ("timeout",), others)
        return context.compute(self, timeout=timeout)

    def __len__(self) -> int:
        return self._length("len()")

    @overload
    def __getitem__(self, index: int) -> Delayed[T_co]: ...
    @overload
    def __getitem__(self, index: slice) -> DelayedList[T_co]: ...

    def __getitem__(self, index: int | slice) -> Delayed[T_co] | DelayedList[T_co]:
        positions = range(self._length("slicing" if isinstance(index, slice) else "indexing"))
        source: DelayedList[T_co] = self
        if isinstance(self.node, SliceNode):  # of a slice: the slice is seen through
            positions = self.node.positions
            source = self.node.source
        try:
            chosen = positions[index]
        except IndexError:
            raise IndexError(f"{self!r} has no item {index}") from None
        except (TypeError, ValueError) as error:
            raise CollectionError(
                f"{self!r} is indexed by integers and slices, not by {shown(index)}: {error}"
            ) from None
        if isinstance(chosen, range):
            return DelayedList(SliceNode(source, chosen))
        return Delayed(ItemNode(source, chosen))

    def __iter__(self) -> Iterator[Delayed[T_co]]:
        length = self._length("iterating")  # now, not at the first item
        return (self[index] for index in range(length))

    def __repr__(self) -> str:
        length = self.node.length
        count = (
            ""
            if length is None or self.node.sparse
            else f", {length} item{'' if length == 1 else 's'}"
        )
        output = f" output {self.output}" if self.node.outputs > 1 else ""
        return f"<DelayedList {self.node.name}{output}{count}>"

    def _length(self, wish: str) -> int:
        if self.node.sparse:
            raise CollectionError(
                f"{wish} of {self!r} is not possible: how many items filter() or "
                "on_failure='skip' leaves is known only after it ran. Use .gather() to have them "
                "as one list in a task, or .compute() to have them here"
            )
        if self.node.length is None:
            raise CollectionError(
                f"{wish} of {self!r} is not possible: the length of its source is not known. Give "
                "map() a list, use .gather() to have the items as one list in a task, or "
                ".compute() to have them here"
            )
        return self.node.length


def items(iterable: Iterable[T]) -> DelayedList[T]:
    """Make a collection of local items, read lazily; generators may be endless.

    Args:
        iterable: Any iterable; its items may be or hold ``Delayed``.

    Example:
        >>> items(range(10)).filter(lambda number: number % 2)
        <DelayedList <lambda>>
    """
    if isinstance(iterable, DelayedList):
        return iterable
    if isinstance(iterable, Delayed):
        raise CollectionError(
            f"items() needs a local iterable, not {shown(iterable)}: map a task over it, "
            "task.map(delayed), which reads its value when it is there"
        )
    return DelayedList(_open_later(iterable, "items()"))


@overload
def zip_items(
    first: DelayedList[A], second: DelayedList[B], /, *, strict: bool = ...
) -> DelayedList[tuple[A, B]]: ...
@overload
def zip_items(
    first: DelayedList[A],
    second: DelayedList[B],
    third: DelayedList[C],
    /,
    *,
    strict: bool = ...,
) -> DelayedList[tuple[A, B, C]]: ...
@overload
def zip_items(
    *sources: Iterable[Any] | Lazy, strict: bool = ...
) -> DelayedList[tuple[Any, ...]]: ...


def zip_items(*sources: Any, strict: bool = False) -> DelayedList[Any]:
    """Tuples of the items of several collections or local iterables, up to the shortest.

    Args:
        sources: What to take items from.
        strict: They must be of the same length. It is an error at once where the lengths are known,
            else when one has come to its end before the others.

    Raises:
        CollectionError: If they are known to differ in length though they must not.

    Example:
        >>> zip_items(items("abc"), range(3))
        <DelayedList zip, 3 items>
    """
    check_flag("strict", strict)
    read = tuple(as_source(source, "zip()") for source in sources)
    return DelayedList(ZipNode(read, strict=strict))


def map_items(
    task: BaseTask[..., Any], iterables: tuple[Any, ...], fixed: dict[str, Any], *, star: bool
) -> Any:
    """The collection, or one for each output, of a task called for each item."""
    wish = f"{task.name}.{'starmap' if star else 'map'}()"
    if not iterables:
        raise SignatureError(f"{wish} needs at least one iterable")
    sources = tuple(as_source(iterable, wish) for iterable in iterables)
    node = MapNode(task, sources, fixed, star=star)
    lists = [DelayedList[Any](node, output) for output in range(task.outputs)]
    if node.options.min_success is not None:
        lists = [_rearranging().enough(one, wish) for one in lists]
    return lists[0] if task.outputs == 1 else tuple(lists)


def as_source(iterable: Any, wish: str = "map()") -> Source:
    """What to read items from."""
    if isinstance(iterable, DelayedList):
        return iterable.node if isinstance(iterable.node, SourceNode) else iterable
    if isinstance(iterable, Delayed):
        return iterable
    return _open_later(iterable, wish)


def _open_later(iterable: Any, wish: str) -> SourceNode:
    if not isinstance(iterable, Iterable) and not hasattr(iterable, "__getitem__"):
        remedy = getattr(type(iterable), "items_remedy", "")
        raise SignatureError(
            f"{wish} needs an iterable, not {shown(iterable)}{f': {remedy}' if remedy else ''}"
        )
    return SourceNode(iterable)


def _as_task(function: Any) -> Task[..., Any] | MultiTask[..., Any, Any, Any]:
    from armoflow.graph.task import as_task  # that module stands on this one

    return as_task(function)


def _rearranging() -> Any:
    from armoflow.graph import rearranging  # it stands on this module

    return rearranging


def _single(
    function: Any, wish: str, call: tuple[tuple[Any, ...], dict[str, Any]]
) -> BaseTask[..., Any]:
    task = _as_task(function)
    if task.outputs != 1:
        raise GraphError(f"{wish}() needs a task of one output: {task.name!r} has {task.outputs}")
    task.check(*call)
    return task
