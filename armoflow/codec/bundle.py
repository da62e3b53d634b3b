"""Payloads of several tasks, stored as one: each task finds its own by its first output.

Tasks that are submitted together and are given little cost an engine a result each for that, which
is created, completed, stored and deleted. Side by side they share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgpack

from armoflow.codec.container import Buffer, pack, unpack
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
    entries = [
        [output, shared.setdefault(pack_shared(one), len(shared)), *pack_own(one, buffers)]
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
            self._entries = {output: own for output, *own in entries}
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
            shared: SharedFields = self._shared[entry[0]]
            return read_own(shared, entry[1:], self._buffers)
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise EnvelopeError(f"stored data is not a payload: {error}") from error


class PayloadReader:
    """Reads the payloads of tasks; the last bundle is read once."""

    def __init__(self) -> None:
        self._data: Buffer = b""
        self._bundle: PayloadBundle | None = None

    def read(self, data: Buffer, outputs: Sequence[str]) -> Payload:
        """The payload of the task that has these outputs.

        Raises:
            EnvelopeError: If it cannot be read.
        """
        if self._bundle is not None and data is self._data:
            return self._bundle.payload(outputs)
        header, buffers = unpack(data)
        if not _is_bundle(header):
            return read_alone(header, buffers)
        self._data, self._bundle = data, PayloadBundle(header, buffers)
        return self._bundle.payload(outputs)


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
