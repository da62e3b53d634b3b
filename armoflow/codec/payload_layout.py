"""How a task's payload is written and read (see :mod:`armoflow.codec.payload`).

What the tasks of one node have in common is one piece of it, which is written once and read once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgpack

from armoflow import config
from armoflow.codec.container import Buffer, pack, unpack
from armoflow.codec.payload import (
    CodeReference,
    InputSlots,
    Operation,
    Payload,
    Pickled,
    PickledItems,
    Piece,
    Settings,
    Stage,
    Values,
)
from armoflow.errors import EnvelopeError
from armoflow.placement import Limits, Offer
from armoflow.version import __version__

FORMAT = 4
_new = tuple.__new__

_KEPT = 64
_KEPT_BYTES = 8 * 1024
"""What tasks share is written and read once: of so many nodes, if it is no larger than that."""

_SETTINGS = tuple(Settings.__dataclass_fields__)
_OPERATIONS = {int(operation): operation for operation in Operation}


def pack_payload(payload: Payload) -> list[Buffer]:
    """Lay out a payload; returns the parts to write one after the other.

    Example:
        >>> payload = Payload(Operation.CALL, "f", CodeReference("hash", b"code"))
        >>> unpack_payload(b"".join(pack_payload(payload))).name
        'f'
    """
    buffers: list[Buffer] = []
    return pack([FORMAT, pack_shared(payload), *pack_own(payload, buffers)], buffers)


def pack_own(payload: Payload, buffers: list[Buffer]) -> list[Any]:
    """What a task does not share with others, for msgpack; large data is added to the buffers."""

    def pickled(value: Pickled) -> Any:
        data, own = value
        first = len(buffers)
        if len(data) >= config.OUT_OF_BAND_LIMIT:  # not copied into the header: the first buffer
            buffers.append(data)
            data = None  # type: ignore[assignment]
        elif not own:
            return data
        buffers.extend(own)
        return [data, first, len(buffers) - first]

    def piece(value: Piece) -> Any:
        if isinstance(value, InputSlots):
            return [0, *value]
        if isinstance(value, Values):
            return [1, pickled(Pickled(value.pickled)), value.length]
        return [2, [pickled(item) for item in value.pickles]]

    columns, promised = payload.columns, payload.promised
    return [
        payload.inputs,
        payload.constants,
        None if payload.arguments is None else pickled(payload.arguments),
        [[piece(value) for value in column] for column in columns] if columns else (),
        payload.positions,
        payload.count,
        _pack_stages(payload, pickled) if payload.stages else (),
        payload.origins,
        payload.spent,
        payload.lost,
        [[number, *each] for number, each in promised.items()] if promised else (),
    ]


_packed_last: dict[str, tuple[tuple[Any, ...], bytes]] = {}
"""What the last payload of each name shares with others, and how it was written."""


def pack_shared(payload: Payload) -> bytes:
    """What the tasks of one node have in common, as one piece: it is written and read once."""
    shared = (
        payload.operation,
        payload.function,
        payload.modules,
        payload.star,
        payload.calls,
        payload.final,
        payload.collection,
        payload.settings,
        payload.key,
        payload.versions,
        payload.limits,
        payload.inline,
        payload.paces,
        payload.target,
    )
    last = _packed_last.get(payload.name)
    if last is not None and last[0] == shared:
        return last[1]
    settings = [getattr(payload.settings, name) for name in _SETTINGS]
    packed: bytes = msgpack.packb(
        [payload.name, int(payload.operation), *shared[1:7], settings, *shared[8:]],
        use_bin_type=True,
    )
    if len(packed) <= _KEPT_BYTES:
        if len(_packed_last) >= _KEPT:
            _packed_last.clear()
        _packed_last[payload.name] = shared, packed
    return packed


def _pack_stages(payload: Payload, pickled: Callable[[Pickled], Any]) -> list[Any]:
    """Stages with their code; what stands in the payload already is named by its digest."""
    known = {payload.function.digest} if payload.function is not None else set()
    packed: list[Any] = []
    for name, function, arguments in payload.stages:
        code = function.digest if function.digest in known else function
        known.add(function.digest)
        packed.append([name, code, None if arguments is None else pickled(arguments)])
    return packed


def _unpack_stages(
    first: CodeReference | None, packed: Sequence[Any], buffers: Sequence[Buffer]
) -> list[Stage]:
    known = {} if first is None else {first.digest: first}
    stages = []
    for name, code, arguments in packed:
        reference = known[code] if isinstance(code, str) else CodeReference(*code)
        known[reference.digest] = reference
        pickled = None if arguments is None else _read_pickled(arguments, buffers)
        stages.append(Stage(name, reference, pickled))
    return stages


def _read_pickled(value: Any, buffers: Sequence[Buffer]) -> Pickled:
    if isinstance(value, bytes):
        return _new(Pickled, (value, ()))
    encoded, first, count = value
    own = buffers[first : first + count]
    if len(own) != count:
        raise ValueError("buffers are missing")
    if encoded is None:
        encoded, *own = own
    return Pickled(encoded, tuple(own))


def _read_piece(value: Any, buffers: Sequence[Buffer]) -> Piece:
    kind, *rest = value
    if kind == 0:
        return InputSlots(*rest)
    if kind == 1:
        return Values(_read_pickled(rest[0], buffers).data, rest[1])
    return PickledItems([_read_pickled(entry, buffers) for entry in rest[0]])


def unpack_payload(data: Buffer) -> Payload:
    """Read a payload back; its pickles' buffers are views of ``data``.

    Raises:
        EnvelopeError: If the data is truncated, corrupt or not a payload.
    """
    return read_alone(*unpack(data))


def read_alone(header: Sequence[Any], buffers: Sequence[Buffer]) -> Payload:
    """The payload that a container holds; see :func:`unpack_payload`."""
    try:
        if header[0] != FORMAT:
            raise EnvelopeError(
                f"payload has format {header[0]!r}, this armoflow ({__version__}) reads {FORMAT}: "
                "install the same version of armoflow where the client runs and for the workers"
            )
        return read_own(read_shared(header[1]), header[2:], buffers)
    except (TypeError, ValueError, IndexError, KeyError, msgpack.UnpackException) as error:
        raise EnvelopeError(f"stored data is not a payload: {error}") from error


def read_own(shared: SharedFields, own: Sequence[Any], buffers: Sequence[Buffer]) -> Payload:
    """A payload, of what it shares with others and of what is its own (:func:`pack_own`)."""
    inputs, constants, arguments, columns, positions, count, *rest = own
    stages, origins, spent, lost, promised = rest
    return Payload(  # by position: it is made for every task
        shared.operation,
        shared.name,
        shared.function,
        shared.modules,
        inputs,
        constants,
        None if arguments is None else _read_pickled(arguments, buffers),
        [[_read_piece(piece, buffers) for piece in column] for column in columns]
        if columns
        else [],
        positions,
        count,
        shared.star,
        shared.calls,
        shared.final,
        shared.collection,
        shared.settings,
        _unpack_stages(shared.function, stages, buffers) if stages else [],
        shared.key,
        origins,
        shared.limits,
        shared.inline,
        shared.paces,
        spent,
        shared.target,
        lost,
        {number: (size, checksum) for number, size, checksum in promised} if promised else {},
        shared.versions,
    )


class SharedFields(NamedTuple):
    """What tasks of one node have in common; see :class:`~armoflow.codec.payload.Payload`."""

    name: str
    operation: Operation
    function: CodeReference | None
    modules: CodeReference | None
    star: bool
    calls: bool
    final: bool
    collection: bool
    settings: Settings
    key: bytes
    versions: str
    limits: Limits | None
    inline: float | None
    paces: Sequence[Sequence[Any]]
    target: float


def _unpack_shared(packed: bytes) -> SharedFields:
    (
        name,
        operation,
        function,
        modules,
        star,
        calls,
        final,
        collection,
        settings,
        key,
        versions,
        limits,
        inline,
        paces,
        target,
    ) = msgpack.unpackb(packed, raw=False, strict_map_key=False)
    return SharedFields(
        name,
        _OPERATIONS[operation],
        None if function is None else CodeReference(*function),
        None if modules is None else CodeReference(*modules),
        star,
        calls,
        final,
        collection,
        Settings(*settings),
        key,
        versions,
        _limits(limits) if limits else None,
        inline,
        paces,
        target,
    )


_kept_shared = functools.lru_cache(_KEPT)(_unpack_shared)


def read_shared(packed: bytes) -> SharedFields:
    """Read what :func:`pack_shared` has written; what is small is read once."""
    return (_unpack_shared if len(packed) > _KEPT_BYTES else _kept_shared)(packed)


def _limits(packed: Sequence[Any]) -> Limits:
    partitions, max_priority, offers = packed
    return Limits(tuple(partitions), max_priority, tuple(Offer(*offer) for offer in offers))
