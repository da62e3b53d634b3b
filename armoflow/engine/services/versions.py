"""The Versions service."""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

from typing import Any

from armonik.protogen.client.versions_service_pb2_grpc import VersionsServicer
from armonik.protogen.common import versions_common_pb2 as messages

CORE_VERSION = "0.41.0-armoflow"
"""The generation of ArmoniK.Core that this engine behaves as.

Clients tell generations apart by this text: from 0.40 on a submission that names an aborted input
is refused, before that such a task waited for ever. The suffix says that it is not ArmoniK.Core.
"""


BATCH_SUFFIX = ".batch"
"""Added to the version where the batch extension is served (see ``armoflow.protocol.frames``)."""


class VersionsService(VersionsServicer):  # type: ignore[misc]
    """Says which engine this is, and which API it serves.

    Args:
        extensions: The batch extension is served: the version says so, for clients that know it.
    """

    def __init__(self, *, extensions: bool = False) -> None:
        self._core = CORE_VERSION + (BATCH_SUFFIX if extensions else "")

    async def ListVersions(self, request: Any, context: Any) -> Any:
        """The versions of the engine and of the API."""
        from armonik import __version__

        return messages.ListVersionsResponse(core=self._core, api=__version__)
