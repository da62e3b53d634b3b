"""The arguments of calls, pickled: an error says which of them cannot be."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from armoflow import config
from armoflow.codec.bare import looked
from armoflow.codec.envelope import Slot, SlotKind, pack_envelope
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import are_scalars
from armoflow.files import FileCopy
from armoflow.graph.arguments import contains_lazy
from armoflow.graph.base_task import BaseTask
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CallNode, Node
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.planning.drafts import ConstantValue, Draft
from armoflow.orchestrator.planning.plan_settings import NO_SURROUNDINGS
from armoflow.orchestrator.shared_data import DataReferences, PlanData, ReceivedData, SharedData

_TEXTS = (bytes, bytearray, str)
_SMALL = frozenset({int, float, bool, type(None), complex, Delayed, DelayedList})


class _Sighting:
    """A large argument of a plan: how many calls are known to take it, and where it is then."""

    __slots__ = ("constant", "uses", "value")

    def __init__(self, value: Any) -> None:
        self.value = value  # held, so that its id stays its own
        self.uses = 0
        self.constant: Constant | None = None


class CallArguments:
    """Pickles the arguments of one plan; large ones that several calls share go up once.

    Attributes:
        surroundings: What arguments may refer to.

    Args:
        data: The large data that the session has sent; None: in a worker.
    """

    def __init__(self, data: SharedData | None = None) -> None:
        self.surroundings = NO_SURROUNDINGS
        self._by_content = data is not None
        self._data: DataReferences = ReceivedData() if data is None else PlanData(data)
        self._sightings: dict[int, _Sighting] = {}

    def clear(self) -> None:
        """The plan is at its end."""
        self._sightings.clear()
        self._data.clear()

    def draft(self, base: Draft | None = None) -> Draft:
        """A new draft, after a base if there is one."""
        external, copy = self.surroundings.external, self.surroundings.copy
        return Draft(base, external, self._data, copy=copy)

    def survey(self, node: CallNode) -> None:
        """Note what is large among the arguments of a call, before any is planned.

        What several calls take goes up once then, and not with the first of them too.
        """
        for value in (*node.args, *node.kwargs.values()) if node.kwargs else node.args:
            if type(value) not in _SMALL and nbytes(value) > config.SHARED_ARGUMENT_LIMIT:
                if self._is_large(value):
                    self._sighting(value).uses += 1
                else:
                    self._data.expect(value)

    def of_call(self, draft: Draft, node: CallNode) -> Pickled:
        """The arguments of a call.

        Raises:
            SerializationError: If one of them cannot be pickled.
        """
        pickled = self.surroundings.pickled.pop(node, None)
        if pickled is not None:
            draft.size += pickled.size
            return pickled
        return self.pickle(draft, node.task, node.args, node.kwargs)

    def pickle(
        self,
        draft: Draft,
        function: BaseTask[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Pickled:
        """The same for a call that is no node of the graph."""
        plain = None if kwargs else draft.dumps_plain(args)
        if plain is not None:
            return plain
        shared = (
            tuple([self._share(value) for value in args]),
            {name: self._share(value) for name, value in kwargs.items()} if kwargs else kwargs,
        )
        return draft.dumps_named(shared, _named(function, *shared), function.name)

    def fixed(self, draft: Draft, fixed: dict[str, Any], node: Node) -> Pickled | None:
        """The fixed arguments of a collection operation; large ones go up once."""
        if not fixed:
            return None
        values = {}
        for name, value in fixed.items():
            values[name] = value
            if self._is_large(value):
                values[name] = ConstantValue(self._constant(value, f"argument {name!r}"))
        return draft.dumps_fixed(values, node.name)

    def refer_outside(self, values: Iterable[Any]) -> bool:
        """Whether some of these arguments are futures or ``put`` references."""
        external = self.surroundings.external
        return external is not None and not external.kinds.isdisjoint(map(type, values))

    def hold_references(self, values: Sequence[Any]) -> bool:
        """Whether some items hold lazy values, or are futures or ``put`` references."""
        if are_scalars(values):
            return False
        external = self.surroundings.external
        kinds = () if external is None else external.kinds
        return any(type(value) in kinds or contains_lazy(value) for value in values)

    def _share(self, value: Any) -> Any:
        """A large argument that was seen before becomes a constant."""
        if type(value) in _SMALL or not self._is_large(value):
            return value
        sighting = self._sighting(value)
        if sighting.uses < 2:
            sighting.uses = 2  # the next time it is
            return value
        if sighting.constant is None:
            sighting.constant = self._constant(value, "shared argument")
        return ConstantValue(sighting.constant)

    def _sighting(self, value: Any) -> _Sighting:
        sighting = self._sightings.get(id(value))
        if sighting is None:
            sighting = self._sightings[id(value)] = _Sighting(value)
        return sighting

    def _is_large(self, value: Any) -> bool:
        """Whether it shall be a constant as a whole, and not what is large in it."""
        size = nbytes(value)
        if type(value) is FileCopy:
            return not self._by_content and size > config.SHARED_ARGUMENT_LIMIT and not value.origin
        if self._by_content and is_buffer(value):
            return False
        return size > config.SHARED_ARGUMENT_LIMIT

    def _constant(self, value: Any, name: str) -> Constant:
        return Constant(name, value_parts(self.draft().dumps(value, name)))


def value_parts(pickled: Pickled) -> list[Any]:
    """The stored form of one value: an envelope of one slot."""
    return pack_envelope([Slot(SlotKind.VALUE, pickled.data, pickled.buffers)])


def is_buffer(value: Any) -> bool:
    """Whether all that is large in a value is kept out of its pickle."""
    return isinstance(value, (bytes, bytearray)) or type(value).__module__ == "numpy"


def nbytes(value: Any) -> int:
    """The size of an argument, as far as it is easily told."""
    kind = type(value)
    if kind in _TEXTS:
        return len(value)
    if kind is FileCopy:  # one that is gone says so
        return value.nbytes  # type: ignore[no-any-return]
    if not (issubclass(kind, _TEXTS) or hasattr(kind, "nbytes")):
        return 0
    size = looked(lambda: len(value) if issubclass(kind, _TEXTS) else value.nbytes, 0)
    return size if isinstance(size, int) else 0


def _named(
    function: BaseTask[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """The arguments of a call with the names that the function gives them."""
    try:
        signature = inspect.signature(function.function)
    except (TypeError, ValueError):  # some built-in functions have none
        yield from ((str(position), value) for position, value in enumerate(args, 1))
        yield from kwargs.items()
    else:
        yield from signature.bind(*args, **kwargs).arguments.items()
