"""The Authentication service."""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

from typing import Any

from armonik.protogen.client.auth_service_pb2_grpc import AuthenticationServicer
from armonik.protogen.common import auth_common_pb2 as messages

from armoflow.engine.access.authentication import Authentication


class AuthenticationService(AuthenticationServicer):  # type: ignore[misc]
    """Says who somebody is taken for.

    Args:
        authentication: Knows who calls.
    """

    def __init__(self, authentication: Authentication) -> None:
        self._authentication = authentication

    async def GetCurrentUser(self, request: Any, context: Any) -> Any:
        """The caller, as the engine sees it."""
        user = self._authentication.user_of(context)
        return messages.GetCurrentUserResponse(
            user=messages.User(
                username=user.name, roles=user.roles, permissions=sorted(user.permissions)
            )
        )
