"""What tasks need: their inputs, their payloads, and what these name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from armoflow.codec.container import Buffer
from armoflow.codec.payload_layout import unpack_payload
from armoflow.errors import EnvelopeError


def constants_of(payload: Buffer) -> list[str]:
    """The results that a stored payload names and a worker fetches: constants and code.

    What is no payload names none.

    Example:
        >>> from armoflow.codec.payload import CodeReference, Operation, Payload
        >>> from armoflow.codec.payload_layout import pack_payload
        >>> code = CodeReference("hash", None, "code-id")
        >>> payload = Payload(Operation.CALL, "f", code, constants=["put-id"])
        >>> constants_of(b"".join(pack_payload(payload)))
        ['put-id', 'code-id']
    """
    try:
        read = unpack_payload(payload)
    except EnvelopeError:
        return []
    code = (read.function, read.modules, *(stage.function for stage in read.stages))
    ids = [reference.result_id for reference in code if reference is not None]
    return [*read.constants, *filter(None, ids)]


@dataclass(slots=True)
class TaskNeeds:
    """What some tasks of a session were given, for whoever runs them again.

    Attributes:
        results: Payloads and inputs.
        payloads: The payloads among them.
        named: The constants that payloads name, of those that were read.
        read: How many payloads were.
    """

    results: set[str] = field(default_factory=set)
    payloads: list[str] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    read: int = 0

    def add(self, payload_id: str, inputs: Iterable[str]) -> None:
        """Another task; one that is known changes nothing."""
        if payload_id not in self.results:
            self.payloads.append(payload_id)
        self.results.update((payload_id, *inputs))

    def learn(self, end: int, names: Iterable[str]) -> None:
        """The payloads up to there were read, and name these constants."""
        self.named.update(names)
        self.read = max(self.read, end)
