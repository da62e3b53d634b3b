"""Explains what a cache had of a graph: each miss is compared with the nearest earlier key."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from armoflow.cache.key_parts import (
    Argument,
    CodeParts,
    Difference,
    KeyParts,
    decode_code,
    decode_parts,
    differences,
)
from armoflow.explanation import Explanation, Reason, TaskExplanation
from armoflow.index import Index
from armoflow.orchestrator.caching.account import Account, Accounted

_LOOKED_AT = 50
"""Earlier keys that a key is compared with, where none has the same arguments."""

_COMPARED = 1000
"""Nodes of one task that are compared; what further ones missed is counted only."""

_Arguments: TypeAlias = "frozenset[tuple[str, bytes]]"


def explain(account: Account, index: Index | None) -> Explanation:
    """Why some of a graph was taken from the cache, and some was not.

    Args:
        account: What was found of it.
        index: Where that was; None: nothing was looked for.

    Raises:
        EngineError: If the index cannot be read.
    """
    earlier: dict[str, _Earlier] = {}
    tasks: defaultdict[str, _Told] = defaultdict(_Told)
    for node in account.nodes:
        told = tasks[node.name]
        told.count(node)
        parts = node.parts
        if not node.missed or parts is None or index is None:
            continue
        told.compared += 1
        if told.compared > _COMPARED:
            told.note("others", "", "", node.missed)
            continue
        if parts.task not in earlier:
            earlier[parts.task] = _Earlier(index, parts.task, account.asked)
        for reason in _reasons(node, parts, earlier[parts.task].nearest(parts)):
            told.note(*reason, node.missed)
    for (name, why), calls in account.uncached.items():
        tasks[name].uncached += calls
        tasks[name].note("not cached", "", why, calls)
    for name, calls in account.unneeded.items():
        tasks[name].unneeded += calls
    return Explanation([told.explanation(name) for name, told in tasks.items()], account.note)


class _Told:
    """What is said of one task."""

    def __init__(self) -> None:
        self.hits = self.misses = self.uncached = self.unneeded = self.compared = 0
        self._reasons: Counter[tuple[str, str, str]] = Counter()
        self._texts: dict[tuple[str, str], str] = {}

    def count(self, node: Accounted) -> None:
        self.hits += node.hits
        self.misses += node.expired + node.lost + sum(node.departed.values()) + node.missed
        if node.expired:
            self.note("expired", "", "it is older than expires= says", node.expired)
        if node.lost:
            self.note("gone", "", "the engine has its data no more", node.lost)
        for why, calls in node.departed.items():
            self.note(why.kind, "", why.value, calls)

    def note(self, kind: str, name: str, text: str, calls: int) -> None:
        if kind == "argument":  # it is another for each call: one is told
            text = self._texts.setdefault((kind, name), text)
        self._reasons[kind, name, text] += calls

    def explanation(self, name: str) -> TaskExplanation:
        reasons = [
            Reason(*reason[:2], _plural(reason, calls), calls)
            for reason, calls in self._reasons.items()
        ]
        return TaskExplanation(name, self.hits, self.misses, self.uncached, self.unneeded, reasons)


def _plural(reason: tuple[str, str, str], calls: int) -> str:
    kind, _, text = reason
    if kind == "others":
        return "not compared: they are many"
    return f"such as {text}" if kind == "argument" and calls > 1 else text


def _reasons(
    node: Accounted, parts: KeyParts, nearest: KeyParts | None
) -> Iterator[tuple[str, str, str]]:
    """How what is missed differs from what is nearest."""
    if nearest is None:
        yield "new", "", "it was never kept before"
        return
    varied = {
        name
        for side in (parts, nearest)
        for name, argument in side.arguments.items()
        if not argument.digest
    }
    found: list[Difference] = differences(_without(nearest, varied), _without(parts, varied))
    yield from found
    if not found:
        told = node.example or parts.arguments
        names = varied & told.keys() or told.keys()
        yield from (("argument", name, f"{told[name].text} is new") for name in sorted(names))
        if not names:
            yield "gone", "", "it was kept, and is no more"


def _without(parts: KeyParts, names: Iterable[str]) -> KeyParts:
    """Parts without the arguments that are others for each item."""
    left = {name: told for name, told in parts.arguments.items() if name not in names}
    return dataclasses.replace(parts, arguments=left)


class _Earlier:
    """What earlier keys of one task were made of; the newest first.

    Args:
        index: Keeps it.
        task: Module and qualified name of the function.
        before: Only those from before this moment count.
    """

    def __init__(self, index: Index, task: str, before: float) -> None:
        self._index = index
        self._codes: dict[bytes, CodeParts | None] = {}
        self._all = [decode_parts(making.parts) for making in index.makings(task, before)]
        self._by_arguments: dict[_Arguments, KeyParts] = {}
        self._by_head: defaultdict[object, list[KeyParts]] = defaultdict(list)
        for parts in self._all:
            self._by_arguments.setdefault(_arguments(parts.arguments), parts)
            self._by_head[_head(parts)].append(parts)

    def nearest(self, parts: KeyParts) -> KeyParts | None:
        """The one that differs least from a key."""
        same = self._by_head.get(_head(parts), ())
        alike = self._by_arguments.get(_arguments(parts.arguments))
        some = [*([alike] if alike is not None else ()), *same[:_LOOKED_AT]]
        some = some or self._all[:_LOOKED_AT]
        if not some:
            return None
        found = min(some, key=lambda other: _distance(other, parts))
        if found.code is None:
            return found
        return dataclasses.replace(found, code=self._code(found.code))

    def _code(self, code: CodeParts) -> CodeParts:
        if code.digest not in self._codes:
            data = self._index.code_parts(code.digest)
            self._codes[code.digest] = None if data is None else decode_code(data)
        return self._codes[code.digest] or code


def _arguments(arguments: Mapping[str, Argument]) -> _Arguments:
    return frozenset((name, argument.digest) for name, argument in arguments.items())


def _head(parts: KeyParts) -> object:
    code = None if parts.code is None else parts.code.digest
    return parts.operation, parts.version, code, frozenset(parts.environment.items())


def _distance(one: KeyParts, other: KeyParts) -> int:
    """In how many ways two keys differ."""
    ways = sum(
        before != after
        for before, after in (
            (one.operation, other.operation),
            (one.version, other.version),
            (one.code and one.code.digest, other.code and other.code.digest),
            (one.environment, other.environment),
        )
    )
    for name in one.arguments.keys() | other.arguments.keys():
        before, after = one.arguments.get(name), other.arguments.get(name)
        both = before is not None and after is not None and before.digest and after.digest
        ways += before.digest != after.digest if both else (before is None) != (after is None)  # type: ignore[union-attr]
    return ways
