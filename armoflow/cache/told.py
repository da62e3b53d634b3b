"""What keys were made of, in words and digests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from armoflow.cache.call_keys import Arguments, Called
from armoflow.cache.collection_keys import Columns, sources_of
from armoflow.cache.key_parts import Argument, KeyParts
from armoflow.cache.value_keys import described
from armoflow.cache.walk import is_atom
from armoflow.graph.lazy import Lazy
from armoflow.graph.nodes import (
    MISSING,
    CallNode,
    FilterNode,
    MapNode,
    Source,
    SourceNode,
    source_node,
)

_SHORT = 60


def tell(
    node: Any,
    index: int | None,
    arguments: Arguments,
    columns: Columns,
    digest_of_source: Callable[[Source], bytes],
) -> KeyParts:
    """What the key of a node that calls a task, or of an item of it, is made of."""
    called = arguments.called(node)
    told = _told(node, called, arguments)
    for name, source in _read(node, called):
        if not called.counts(name):
            continue
        if index is None:
            told[name] = Argument(digest_of_source(source), _text_of_source(source, None))
        else:
            told[name] = Argument(columns.at(source, index), _text_of_source(source, index))
    operation = "call" if index is not None else type(node).__name__.removesuffix("Node").lower()
    return _parts(operation, called, told)


def tell_shared(node: MapNode | FilterNode, arguments: Arguments) -> KeyParts:
    """What the keys of a map's calls, or a filter's, have in common."""
    called = arguments.called(node)
    told = _told(node, called, arguments)
    for name, source in _read(node, called):
        if called.counts(name):
            told[name] = Argument(b"", f"each of {source_node(source).name!r}")
    return _parts("call", called, told)


def _parts(operation: str, called: Called, told: dict[str, Argument]) -> KeyParts:
    code = None if called.code is None else called.code.told
    return KeyParts(called.name, operation, called.version, code, told, called.environment)


def _told(node: Any, called: Called, arguments: Arguments) -> dict[str, Argument]:
    """The arguments that are written at the call, and are part of the key."""
    return {
        name: Argument(arguments.one(name, value), _text(value))
        for name, value in _given(node, called)
        if called.counts(name)
    }


def _given(node: Any, called: Called) -> Iterator[tuple[str, Any]]:
    """The arguments that are written at the call, by name."""
    if isinstance(node, CallNode):
        names = called.names(len(node.args), node.kwargs)
        yield from zip(names, (*node.args, *node.kwargs.values()), strict=True)
    elif isinstance(node, (MapNode, FilterNode)):
        yield from zip(called.names(0, node.fixed), node.fixed.values(), strict=True)
    elif node.initial is not MISSING:
        yield "initial", node.initial


def _read(node: Any, called: Called) -> Iterator[tuple[str, Source]]:
    """What is read item by item, by the name of the argument that an item is."""
    sources = sources_of(node)
    if isinstance(node, MapNode) and node.star:
        yield "*", sources[0]
    elif isinstance(node, (MapNode, FilterNode)):
        yield from zip(called.names(len(sources)), sources, strict=True)
    else:
        yield from (("items", source) for source in sources)


def _text(value: Any) -> str:
    if isinstance(value, Lazy):
        return f"what {value.node.name!r} gives"
    text = f"<{described(value)}>"
    if is_atom(value):
        with suppress(ValueError):  # Python writes no integer of very many digits
            text = repr(value)
    return text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."


def _text_of_source(source: Source, index: int | None) -> str:
    node = source_node(source)
    if index is None or not isinstance(node, SourceNode):
        item = "" if index is None else f"item {index} of "
        return f"{item}what {node.name!r} gives"
    if isinstance(node.iterable, Sequence):
        return _text(node.iterable[index])
    return f"item {index} of {node.name!r}"
