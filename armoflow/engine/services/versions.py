"""The Versions service."""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

from typing import Any

from armonik.protogen.client.versions_service_pb2_grpc import VersionsServicer
from armonik.protogen.common import versions_common_pb2 as messages

from armoflow.engine.core_version import core_version


class VersionsService(VersionsServicer):  # type: ignore[misc]
    """Says which engine this is, and which API it serves.

    Args:
        extensions: The batch extension is served: the version says so, for clients that know it.
    """

    def __init__(self, *, extensions: bool = False) -> None:
        self._core = core_version(extensions=extensions)

    async def ListVersions(self, request: Any, context: Any) -> Any:
        """The versions of the engine and of the API."""
        from armonik import __version__

        return messages.ListVersionsResponse(core=self._core, api=__version__)
