"""Tasks of a named run that others have submitted, as if this client had; and their values.

Payloads are not read: what is known of a task is what the manifest says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from armoflow.codec.payload import Payload
from armoflow.codec.positions import Positions
from armoflow.graph.nodes import CollectionNode, Node
from armoflow.orchestrator.named.history import RunProgress, ValuePlace
from armoflow.orchestrator.named.manifest import PartialNote, ResultSlots, TaskNote
from armoflow.orchestrator.named.run_keys import KeyedNode, RunKeys, ValueKey
from armoflow.orchestrator.planned import PlannedTask, PlanPiece, Result, SlotRange, Steps
from armoflow.orchestrator.planning.chunks import join
from armoflow.orchestrator.planning.known import Begun, Found, KnownItems, Partial, Scattered
from armoflow.protocol.result_handle import ResultState


class RestoredResult(Result):
    """A result that was there, or under way, before this client came."""

    __slots__ = ()


class RestoredTasks:
    """The tasks of a run that are under way, with their results, and those with none.

    Args:
        notes: All tasks of the run.
        progress: What became of them.

    Attributes:
        open: The tasks that are under way, or whose failure is to be explained.
    """

    def __init__(self, notes: Sequence[TaskNote], progress: RunProgress) -> None:
        self._results: dict[str, RestoredResult] = {}
        self._sizes = {change.result_id: change.size for change in progress.changes}
        self._done = progress.done
        self.open: list[PlannedTask] = []
        for note in notes:
            if not progress.done.issuperset(note.outputs):
                self.open.append(self._restore(note))

    def result(
        self, result_id: str, name: str, positions: Positions | None = None
    ) -> RestoredResult:
        """A result of the run."""
        result = self._results.get(result_id)
        if result is None:
            result = self._results[result_id] = RestoredResult(name)
            result.id = result_id
            result.positions = positions
            result.size = self._sizes.get(result_id, 0)
            done = result_id in self._done
            result.state = ResultState.COMPLETED if done else ResultState.CREATED
        return result

    def piece(self, place: ResultSlots) -> SlotRange:
        """Slots of a result of the run."""
        result = self.result(place.result_id, place.name, place.positions)
        return SlotRange(result, place.start, place.stop)

    def _restore(self, note: TaskNote) -> PlannedTask:
        name = note.names[-1]
        payload = Payload(
            note.operation,
            note.names[0],
            positions=note.positions or 0,
            count=max(note.items, 1),
            collection=note.positions is not None,
        )
        inputs = [self.result(result_id, "") for result_id in note.inputs]
        outputs = [self.result(result_id, name, note.positions) for result_id in note.outputs]
        for output in outputs:
            output.name, output.positions = name, note.positions
        task = PlannedTask(payload, inputs, outputs, note.options)
        task.open_outputs = sum(not output.final for output in outputs)
        task.payload = None
        task.payload_id = note.payload_id
        task.stored = task.keep = True
        task.items = note.items
        if len(note.names) > 1:
            task.steps = Steps(list(note.names), ())
        return task


class KnownValues:
    """What a run has already of a graph; see ``planning.known.Known``.

    Args:
        keys: What the values of the graph are known by.
        places: Where values are, or will be.
        tasks: Gives the results.
        partials: What reductions have made of some of their items, by their keys.

    Attributes:
        taken: The results of which something was said.
    """

    def __init__(
        self,
        keys: RunKeys,
        places: dict[ValueKey, ValuePlace],
        tasks: RestoredTasks,
        partials: Mapping[bytes, Sequence[PartialNote]],
    ) -> None:
        self._keys = keys
        self._places = places
        self._tasks = tasks
        self._partials = partials
        self._begun: dict[Node, Begun | None] = {}
        self._scattered: dict[Node, Scattered] = {}
        self.taken: set[str] = set()

    def find(self, node: Node) -> Found | None:
        """What is known of a node that makes single values."""
        keyed = self._keys.of(node) if self._places else None
        if keyed is None or not self._has(keyed, 0):
            return None
        return [self._piece(node, keyed, 0, output) for output in keyed.outputs]

    def find_items(self, node: CollectionNode) -> Begun | None:
        """What is known of a map or a filter, all of whose items are."""
        if node not in self._begun:
            keyed = self._keys.of(node) if self._places else None
            whole = keyed is not None and all(
                self._has(keyed, number) for number in range(len(keyed.items))
            )
            self._begun[node] = (
                Begun(
                    [
                        [
                            self._piece(node, keyed, number, output)
                            for number in range(len(keyed.items))
                        ]
                        for output in keyed.outputs
                    ]
                )
                if whole and keyed is not None
                else None
            )
        return self._begun[node]

    def find_scattered(self, node: CollectionNode) -> Scattered | None:
        """What is known of others."""
        if node not in self._scattered:
            keyed = self._keys.of(node) if self._places else None
            self._scattered[node] = self._runs(node, keyed) if keyed is not None else ()
        return self._scattered[node]

    def _runs(self, node: CollectionNode, keyed: KeyedNode) -> Scattered:
        runs: list[KnownItems] = []
        start: int | None = None
        for number in range(len(keyed.items) + 1):
            if number < len(keyed.items) and self._has(keyed, number):
                start = number if start is None else start
            elif start is not None:
                runs.append(self._run(node, keyed, start, number))
                start = None
        return runs

    def partials(self, node: Node) -> Sequence[Partial]:
        """What a reduction has made of some of its items."""
        keyed = self._keys.of(node) if self._partials else None
        found = () if keyed is None else self._partials.get(keyed.items[0], ())
        self.taken.update(note.result_id for note in found)
        return [
            Partial(
                note.start,
                note.stop,
                SlotRange(self._tasks.result(note.result_id, node.name), 0, 1),
            )
            for note in found
        ]

    def spent(self, node: Node) -> int:
        """Nothing was tried by this plan."""
        return 0

    def _has(self, keyed: KeyedNode, number: int) -> bool:
        key = keyed.items[number]
        return all((key, output) in self._places for output in keyed.outputs)

    def _piece(self, node: Any, keyed: KeyedNode, number: int, output: int) -> SlotRange:
        place = self._places[keyed.items[number], output]
        self.taken.add(place.result_id)
        result = self._tasks.result(place.result_id, node.name)
        return SlotRange(result, place.slot, place.slot + 1)

    def _run(self, node: Node, keyed: KeyedNode, start: int, stop: int) -> KnownItems:
        columns: list[list[PlanPiece]] = [[] for _ in keyed.outputs]
        for column, output in zip(columns, keyed.outputs, strict=True):
            for number in range(start, stop):
                join(column, self._piece(node, keyed, number, output))
        return KnownItems(start, columns, stop - start)
