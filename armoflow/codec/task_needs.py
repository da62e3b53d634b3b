"""What tasks need: their inputs, their payloads, and what these name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from armoflow.codec.bundle import read_payload, read_payloads
from armoflow.codec.container import Buffer
from armoflow.codec.payload import Payload
from armoflow.errors import EnvelopeError


def constants_of(payload: Buffer, outputs: Sequence[str] | None = None) -> list[str]:
    """The results that a stored payload names and a worker fetches: constants and code.

    Args:
        payload: A payload, or a bundle of them; what is neither names none.
        outputs: Those of the task that is asked about; None: of all tasks that have the payload.

    Example:
        >>> from armoflow.codec.payload import CodeReference, Operation, Payload
        >>> from armoflow.codec.payload_layout import pack_payload
        >>> code = CodeReference("hash", None, "code-id")
        >>> payload = Payload(Operation.CALL, "f", code, constants=["put-id"])
        >>> constants_of(b"".join(pack_payload(payload)))
        ['put-id', 'code-id']
    """
    try:
        found = read_payloads(payload) if outputs is None else [read_payload(payload, outputs)]
    except EnvelopeError:
        return []
    return list(dict.fromkeys(name for one in found for name in _names(one)))


def _names(payload: Payload) -> Iterator[str]:
    code = (payload.function, payload.modules, *(stage.function for stage in payload.stages))
    yield from payload.constants
    for reference in code:
        if reference is not None and reference.result_id:
            yield reference.result_id


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
