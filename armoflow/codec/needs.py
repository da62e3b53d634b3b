"""What a task needs beside its inputs, by its stored payload."""

from __future__ import annotations

from armoflow.codec.container import Buffer
from armoflow.codec.payload import unpack_payload
from armoflow.errors import EnvelopeError


def constants_of(payload: Buffer) -> list[str]:
    """The results that a stored payload names and a worker fetches: constants and code.

    What is no payload names none.

    Example:
        >>> from armoflow.codec.payload import CodeReference, Operation, Payload, pack_payload
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
