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


class VersionsService(VersionsServicer):  # type: ignore[misc]
    """Says which engine this is, and which API it serves."""

    async def ListVersions(self, request: Any, context: Any) -> Any:
        """The versions of the engine and of the API."""
        from armonik import __version__

        return messages.ListVersionsResponse(core=CORE_VERSION, api=__version__)
