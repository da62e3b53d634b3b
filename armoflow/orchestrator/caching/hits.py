"""What the cache has of one graph: looked up whole before it is planned.

The graph is walked from what is asked for. What is known is imported, and nothing behind it is
looked at; of a collection, item by item. What turns out to be lost is missed, and looked behind.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any

from armoflow.cache.key_parts import Argument
from armoflow.graph.nodes import CollectionNode, Node
from armoflow.index import CachedPlace
from armoflow.index_entries import Key
from armoflow.options import TaskOptions
from armoflow.orchestrator.caching.account import Account, Accounted
from armoflow.orchestrator.caching.cache import Cache, Imported
from armoflow.orchestrator.caching.keeping import ResultToKeep
from armoflow.orchestrator.caching.kept_nodes import KeptNode, KeptNodes
from armoflow.orchestrator.caching.uncached import (
    CALLING,
    after_replaced,
    calls_of,
    needed_calls,
    note_uncached,
    why_uncached,
)
from armoflow.orchestrator.planned import PlanPiece, SlotRange
from armoflow.orchestrator.planning.both_known import BothKnown
from armoflow.orchestrator.planning.chunks import by_result, join
from armoflow.orchestrator.planning.demand import Demand, demand_of, reads_some
from armoflow.orchestrator.planning.item_ranges import first_of
from armoflow.orchestrator.planning.known import NOTHING, Begun, Found, Known, KnownItems, Scattered


class CachedPlan:
    """What is known of one graph; see the module, and ``planning.known.Known``.

    Args:
        cache: The cache.
        base: What holds where a task says nothing.
        references: What futures and ``put`` references stand for, by type.
        wait: Runs a coroutine in the loop's thread, and waits for it.
        put: Has a function called there once all that was planned before is under way.
        known: What is known without the cache: it is not looked up.
    """

    def __init__(
        self,
        cache: Cache,
        base: TaskOptions,
        references: dict[type, Callable[[Any], bytes]],
        wait: Callable[[Coroutine[Any, Any, Any]], Any],
        put: Callable[[Callable[[], None]], None],
        *,
        known: Known = NOTHING,
    ) -> None:
        self._cache = cache
        self._base = base
        self._wait = wait
        self._put = put
        self._elsewhere = known
        self._kept = KeptNodes(base, references)
        self._visited: dict[Node, None] = {}
        self._gone: set[bytes] = set()
        self._lost: defaultdict[Node, set[bytes]] = defaultdict(set)
        self._expired: dict[Node, set[bytes]] = {}
        self._values: dict[Node, list[SlotRange]] = {}
        self._begun: dict[Node, Begun] = {}
        self._scattered: dict[Node, Scattered] = {}
        self._demand: Demand | None = None

    def look_up(
        self, asked: Iterable[Node], *, forget: bool = True, verify: bool = False
    ) -> Account:
        """Find what is known, and import it; says what was found.

        Args:
            asked: The nodes whose values are asked for.
            forget: What turns out to be lost is taken out of the index.
            verify: Read all of it: it cannot be computed anew where it turns out to be wrong later.

        Raises:
            UnkeyableError: If an argument has no key; names it.
        """
        account = Account(time.time())
        roots = set(asked)
        self._kept.unsure = after_replaced(_behind(roots), self._base)
        pending = list(roots)
        while pending:
            hits = self._match(pending)
            results: dict[bytes, Imported] = {}
            read: dict[bytes, Imported] = {}
            for node, places in hits.items():
                for place in places.values():
                    stored = place.data
                    if stored.opaque_id not in results:
                        results[stored.opaque_id] = Imported(node.name, stored)
                    if verify or node in roots:
                        read[stored.opaque_id] = results[stored.opaque_id]
            lost: set[bytes] = set()
            if results:
                lost = self._wait(
                    self._cache.take(list(results.values()), list(read.values()), forget=forget)
                )
            pending = []
            for node, places in hits.items():
                kept = {
                    key: place for key, place in places.items() if place.data.opaque_id not in lost
                }
                if len(kept) < len(places):
                    self._lost[node].update(key for key, _ in places.keys() - kept.keys())
                    pending.append(node)
                else:
                    self._note(node, places, results)
            self._gone |= lost
        if self._scattered or any(map(reads_some, _behind(roots))):  # else all is needed
            self._demand = demand_of(roots, BothKnown(self._elsewhere, self))
        self._account(account, roots)
        return account

    # --- looking --------------------------------------------------------------------------------

    def _match(self, nodes: Iterable[Node]) -> dict[Node, dict[Key, CachedPlace]]:
        """The nodes of which something is known, nearest to these first, and where that is."""
        hits: dict[Node, dict[Key, CachedPlace]] = {}
        seen: set[Node] = set()
        level = list(nodes)
        while level:
            behind: list[Node] = []
            keyed: list[tuple[Node, KeptNode]] = []
            for node in level:
                if node in seen:
                    continue
                seen.add(node)
                if self._is_elsewhere(node):
                    continue
                self._visited[node] = None
                own = self._kept.key(node)
                if own is None:
                    behind.extend(node.inputs)
                else:
                    keyed.append((node, own))
            asked = {
                node: [(key, output) for key in own.items for output in own.outputs]
                for node, own in keyed
            }
            found = self._cache.find(itertools.chain.from_iterable(asked.values()))
            now = time.time()
            for node, own in keyed:
                places = {
                    key: place
                    for key in asked.pop(node)
                    if (place := found.get(key)) is not None
                    and place.data.opaque_id not in self._gone
                }
                late = {
                    place for place in places if own.policy.expired(places[place].data.made, now)
                }
                if late:
                    self._expired[node] = {key for key, _ in late}
                    places = {key: place for key, place in places.items() if key not in late}
                if places:
                    hits[node] = places
                if len(places) < len(set(own.items)) * len(own.outputs):
                    behind.extend(node.inputs)
            level = behind
        return hits

    def _is_elsewhere(self, node: Node) -> bool:
        if isinstance(node, CollectionNode):
            return self._elsewhere.find_items(node) is not None
        return self._elsewhere.find(node) is not None

    def _note(
        self, node: Node, places: dict[Key, CachedPlace], results: dict[bytes, Imported]
    ) -> None:
        own = self._kept[node]

        def piece(key: Key) -> SlotRange:
            place = places[key]
            return SlotRange(results[place.data.opaque_id], place.slot, place.slot + 1)

        def here(item: bytes) -> bool:
            return all((item, output) in places for output in own.outputs)

        if not isinstance(node, CollectionNode):
            if here(own.items[0]):
                self._values[node] = [piece((own.items[0], output)) for output in own.outputs]
            return
        if all(map(here, own.items)):
            columns = [[piece((item, output)) for item in own.items] for output in own.outputs]
            self._begun[node] = Begun(columns)
            return
        runs: list[KnownItems] = []
        start: int | None = None
        for position, item in enumerate([*own.items, b""]):
            if item and here(item):
                start = position if start is None else start
            elif start is not None:
                runs.append(_run(start, own.items[start:position], own.outputs, piece))
                start = None
        if runs:
            self._scattered[node] = runs

    # --- what was found -------------------------------------------------------------------------

    def _account(self, account: Account, roots: Iterable[Node]) -> None:
        """Say what was found of each node; those before others that need them."""
        for node in reversed(self._visited):
            if node in self._kept:
                found = self._accounted(node)
                account.nodes.append(found)
                unneeded = calls_of(node) - found.hits - self.to_run(node)
                if unneeded:
                    account.unneeded[node.name] += unneeded
            elif isinstance(node, CALLING):
                why = why_uncached(node, self._base, unsure=self._kept.is_unsure(node))
                note_uncached(account, node, why, self.to_run(node))
        if self._cache.refused:
            account.note = "the engine takes no imports of this client's: all is computed"
        if any(found.hits for found in account.nodes):
            for node in _behind(roots):
                if isinstance(node, CALLING) and node not in self._visited:
                    account.unneeded[node.name] += calls_of(node)

    def _accounted(self, node: Node) -> Accounted:
        own = self._kept[node]
        missing, hits = self._missing(node, own), self._hits(node, own)
        if not missing:
            return Accounted(node.name, hits)
        keys = [own.items[position] for position in missing]
        lost, late = self._lost.get(node, set()), self._expired.get(node, set())
        gone = sum(key in lost for key in keys)
        expired = sum(key in late and key not in lost for key in keys)
        why = self._cache.departures(key for key in keys if key not in lost and key not in late)
        departed = Counter(why[key] for key in keys if key in why)
        example: dict[str, Argument] = {}
        told = (lost, late, why)
        unknown = (at for at in missing if not any(own.items[at] in some for some in told))
        if isinstance(node, CollectionNode) and (first := next(unknown, None)) is not None:
            example = self._kept.arguments(node, first)
        left = len(missing) - gone - expired - departed.total()
        parts = self._kept.parts_of(node)
        return Accounted(node.name, hits, expired, gone, departed, left, parts, example)

    def _hits(self, node: Node, own: KeptNode) -> int:
        """How many calls are known."""
        if node in self._values or node in self._begun:
            return len(own.items)
        return sum(run.length for run in self._scattered.get(node, ()))

    def _missing(self, node: Node, own: KeptNode) -> Sequence[int]:
        """The positions of the calls that are to run: not known, and needed."""
        if node in self._values or node in self._begun:
            return ()
        everything = range(len(own.items))
        if self._demand is None:
            return everything
        if not isinstance(node, CollectionNode):
            return everything if self._demand.is_needed(node) else ()
        parts = first_of(self._demand.missing(node), len(everything))
        return [*itertools.chain.from_iterable(parts)]

    def to_run(self, node: Node) -> int:
        """How many calls of a node are to run: what only known values need is not looked at."""
        if node not in self._visited:
            return 0
        own = self._kept.get(node)
        if own is not None:
            return len(self._missing(node, own))
        return calls_of(node) if self._demand is None else needed_calls(self._demand, node)

    # --- what planning asks ---------------------------------------------------------------------

    def find(self, node: Node) -> Found | None:
        """What is known of a node that makes single values."""
        return self._values.get(node)

    def find_items(self, node: CollectionNode) -> Begun | None:
        """What is known of a map or a filter, all of whose items are."""
        return self._begun.get(node)

    def find_scattered(self, node: CollectionNode) -> Scattered | None:
        """What is known of others."""
        return self._scattered.get(node)

    def spent(self, node: Node) -> int:
        """Nothing was tried."""
        return 0

    # --- what is new ----------------------------------------------------------------------------

    def made(self, node: Node, first: int, columns: Sequence[Sequence[PlanPiece]]) -> None:
        """Where values will be that are to be kept."""
        own = self._kept.get(node)
        if own is None:
            return
        parts = self._kept.parts_of(node)
        for output, column in zip(own.outputs, columns, strict=True):
            for result, places in by_result(column, first).items():
                if isinstance(result, Imported):
                    continue
                keys = [
                    ((key, output), piece.start + at)
                    for piece, position in places
                    for at, key in enumerate(own.items[position : position + piece.length])
                ]
                made = ResultToKeep(result, keys, node.name, own.policy.version, parts)
                self._put(lambda made=made: self._cache.keeper.expect(made))  # type: ignore[misc]


def _behind(roots: Iterable[Node]) -> Iterator[Node]:
    """All nodes that some need, and these."""
    seen = set(roots)
    todo = list(seen)
    while todo:
        node = todo.pop()
        yield node
        for below in node.inputs:
            if below not in seen:
                seen.add(below)
                todo.append(below)


def _run(
    start: int,
    items: Sequence[bytes],
    outputs: Sequence[int],
    piece: Callable[[Key], SlotRange],
) -> KnownItems:
    columns: list[list[PlanPiece]] = [[] for _ in outputs]
    for column, output in zip(columns, outputs, strict=True):
        for item in items:
            join(column, piece((item, output)))
    return KnownItems(start, columns, len(items))
