"""What an engine says that it is."""

from __future__ import annotations

CORE_VERSION = "0.41.0-armoflow"
"""The generation of ArmoniK.Core that this engine behaves as.

Clients tell generations apart by this text: from 0.40 on a submission that names an aborted input
is refused, before that such a task waited for ever. The suffix says that it is not ArmoniK.Core.
"""

BATCH_SUFFIX = ".batch"
"""Added to the version where the batch extension is served (see ``armoflow.protocol.frames``)."""


def core_version(*, extensions: bool) -> str:
    """The version of an engine, which says whether the batch extension is served.

    Example:
        >>> core_version(extensions=True)
        '0.41.0-armoflow.batch'
    """
    return CORE_VERSION + (BATCH_SUFFIX if extensions else "")
