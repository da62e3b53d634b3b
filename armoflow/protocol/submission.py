"""One task to be submitted, with all that is told of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from armoflow.codec.container import Buffer
from armoflow.codec.payload import Payload
from armoflow.codec.payload_layout import pack_payload
from armoflow.errors import ArmoflowError
from armoflow.options import MAX_RETRIES, PRIORITY
from armoflow.protocol.result_handle import ResultHandle
from armoflow.tracing import Labels

NAMESPACE = "armoflow"
SERVICE = "python"
"""What ArmoniK's tools show of armoflow's sessions, beside the application's name and version."""


@dataclass(frozen=True, slots=True)
class WireOptions:
    """The ArmoniK task options that armoflow sets; seconds for ``max_duration``.

    ``application`` names what the tasks of a session belong to: a session's tasks inherit it.
    ``labels`` are further options, by name: for workers, and for whoever looks.
    """

    max_duration: float
    max_retries: int = MAX_RETRIES
    priority: int = PRIORITY
    partition: str = ""
    application: str = ""
    labels: Labels = ()


@functools.lru_cache(maxsize=64)
def labelled(options: WireOptions, labels: Labels) -> WireOptions:
    """Options with further ones; the same object for the same ones, as far as some are kept."""
    return dataclasses.replace(options, labels=(*options.labels, *labels))


class Submission:
    """One ArmoniK task to be submitted.

    Attributes:
        inputs: Handles of the data dependencies; each has its id, or is an output of an earlier
            submission of the same batch.
        outputs: Handles of the expected outputs, in order; the transport gives them their ids.
        options: The task's ArmoniK options.
        name: The node's name; results are named after it.
        size: Estimated bytes of the payload.
        keep: The outputs stay when nothing needs them any more, and when their session ends.
        cached: The outputs' data outlives everything: what imports it later shall find it.
        wanted: The client will fetch the outputs: an engine that can, sends small ones along.
        task_id: Set by the transport.
        payload_id: Set by the transport, or before for a payload that exists already; empty again
            after the submission where the engine frees it.
        sharers: How many tasks have its payload, set by the transport.
        stored: The payload's data is in the engine.
    """

    __slots__ = (
        "cached",
        "inputs",
        "keep",
        "name",
        "options",
        "outputs",
        "payload_id",
        "sharers",
        "size",
        "stored",
        "task_id",
        "wanted",
    )

    def __init__(
        self,
        name: str,
        inputs: Sequence[ResultHandle],
        outputs: Sequence[ResultHandle],
        options: WireOptions,
        size: int = 0,
    ) -> None:
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.options = options
        self.size = size
        self.keep = False
        self.cached = False
        self.wanted = False
        self.task_id = ""
        self.payload_id = ""
        self.sharers = 1
        self.stored = False

    def fill(self) -> Payload:
        """The payload with all ids; called once the inputs have theirs."""
        raise NotImplementedError

    def pack(self) -> list[Buffer]:
        """Lay out the payload; called once the inputs have their ids."""
        return pack_payload(self.fill())


class Note(Protocol):
    """What is to be known of tasks by whoever goes on with them."""

    def lay_out(self) -> Iterable[tuple[str, Buffer]]:
        """Names, and what is stored under them; called once the tasks' results have their ids."""

    @property
    def fence(self) -> str:
        """The name of what is stored by whoever takes over: after that, nothing is submitted."""

    async def confirm(self, *, anew: bool = False) -> None:
        """Ask whether somebody else has taken over; nothing is between this and the submission.

        Args:
            anew: Whether it was asked a moment ago or not.

        Raises:
            ArmoflowError: If they are not to be submitted: somebody else has taken over.
        """


class InputsAbortedError(ArmoflowError):
    """A batch was refused because some of its inputs are aborted or deleted.

    Nothing of the batch was submitted; ``result_ids`` are the inputs to blame.
    """

    def __init__(self, result_ids: Sequence[str]) -> None:
        super().__init__(f"{len(result_ids)} input(s) are aborted or deleted")
        self.result_ids = frozenset(result_ids)
