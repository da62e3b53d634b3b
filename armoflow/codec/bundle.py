"""Payloads of several tasks, stored as one: each task finds its own by its first output.

Tasks that are submitted together and are given little cost an engine a result each for that, which
is created, completed, stored and deleted. Side by side they share one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import msgpack

from armoflow import config
from armoflow.codec.container import Buffer, pack, packed, unpack
from armoflow.codec.payload import Payload
from armoflow.codec.payload_layout import (
    FORMAT,
    SharedFields,
    pack_own,
    pack_shared,
    read_alone,
    read_own,
    read_shared,
)
from armoflow.errors import EnvelopeError

BUNDLE = FORMAT + 1
"""The format of a bundle: an armoflow that knows none says so."""


def pack_bundle(payloads: Iterable[tuple[str, Payload]]) -> list[Buffer]:
    """Lay out payloads, each with the id of its task's first output.

    Example:
        >>> from armoflow.codec.payload import Operation
        >>> f, g = Payload(Operation.CALL, "f"), Payload(Operation.CALL, "g")
        >>> data = b"".join(pack_bundle([("f-output", f), ("g-output", g)]))
        >>> read_payload(data, ["g-output"]).name, len(read_payloads(data))
        ('g', 2)
    """
    buffers: list[Buffer] = []
    shared: dict[bytes, int] = {}  # what several have in common stands in it once
    # Each own part is packed for itself: a process reads those of the tasks that it runs.
    entries = [
        [output, shared.setdefault(pack_shared(one), len(shared)), packed(pack_own(one, buffers))]
        for output, one in payloads
    ]
    return pack([BUNDLE, list(shared), entries], buffers)


class PayloadBundle:
    """Payloads that were read together.

    Args:
        header: What :func:`pack_bundle` has written.
        buffers: What stands behind it.

    Raises:
        EnvelopeError: If it is something else.
    """

    def __init__(self, header: Any, buffers: Sequence[Buffer]) -> None:
        try:
            _, shared, entries = header
            self._shared = [read_shared(each) for each in shared]
            self._entries = {output: (number, own) for output, number, own in entries}
        except (TypeError, ValueError, KeyError, msgpack.UnpackException) as error:
            raise EnvelopeError(f"stored data is not a bundle of payloads: {error}") from error
        self._buffers = buffers

    @property
    def outputs(self) -> list[str]:
        """The first outputs of its tasks."""
        return list(self._entries)

    def payload(self, outputs: Sequence[str]) -> Payload:
        """The payload of the task that has these outputs.

        Raises:
            EnvelopeError: If it is not there, or cannot be read.
        """
        entry = self._entries.get(outputs[0]) if outputs else None
        if entry is None:
            raise EnvelopeError(f"the payload has nothing for a task with outputs {[*outputs]}")
        try:
            number, own = entry
            shared: SharedFields = self._shared[number]
            return read_own(
                shared, msgpack.unpackb(own, raw=False, strict_map_key=False), self._buffers
            )
        except (TypeError, ValueError, IndexError, KeyError, msgpack.UnpackException) as error:
            raise EnvelopeError(f"stored data is not a payload: {error}") from error


class PayloadReader:
    """Reads the payloads of tasks; the last bundles are read once."""

    def __init__(self) -> None:
        # By identity: what is kept stays the same object.
        self._read: OrderedDict[int, tuple[Buffer, PayloadBundle]] = OrderedDict()

    def read(self, data: Buffer, outputs: Sequence[str]) -> Payload:
        """The payload of the task that has these outputs.

        Raises:
            EnvelopeError: If it cannot be read.
        """
        known = self._read.get(id(data))
        if known is not None:
            return known[1].payload(outputs)
        header, buffers = unpack(data)
        if not _is_bundle(header):
            return read_alone(header, buffers)
        bundle = PayloadBundle(header, buffers)
        self._read[id(data)] = data, bundle
        if len(self._read) > config.BUNDLES_KEPT:
            self._read.popitem(last=False)
        return bundle.payload(outputs)


def read_payload(data: Buffer, outputs: Sequence[str]) -> Payload:
    """The payload of the task that has these outputs, of its own or out of a bundle.

    Raises:
        EnvelopeError: If it cannot be read.
    """
    return PayloadReader().read(data, outputs)


def read_payloads(data: Buffer) -> list[Payload]:
    """All payloads that are in stored data.

    Raises:
        EnvelopeError: If they cannot be read.
    """
    header, buffers = unpack(data)
    if not _is_bundle(header):
        return [read_alone(header, buffers)]
    bundle = PayloadBundle(header, buffers)
    return [bundle.payload([output]) for output in bundle.outputs]


def _is_bundle(header: Any) -> bool:
    return isinstance(header, list) and header[:1] == [BUNDLE]
