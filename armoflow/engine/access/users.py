"""Users, and what they may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

IMPERSONATE: Final = "General:Impersonate"
"""With a role behind it: the permission to call as another user of that role."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who calls.

    Attributes:
        name: The name.
        roles: The names of the roles.
        permissions: What these permit, such as ``Sessions:CreateSession``.
    """

    name: str
    roles: tuple[str, ...]
    permissions: frozenset[str]

    def may(self, permission: str) -> bool:
        """Whether a call is permitted.

        Example:
            >>> User("x", (), frozenset({"Tasks:GetTask"})).may("Tasks:CancelTasks")
            False
        """
        return permission in self.permissions

    def missing_to_be(self, other: User) -> str:
        """The permission that lacks to call as another user; empty: none."""
        needed = (f"{IMPERSONATE}:{role}" for role in other.roles)
        return next((each for each in needed if each not in self.permissions), "")


@dataclass(frozen=True, slots=True)
class Users:
    """All who may call.

    Attributes:
        named: The users by their names.
        certificates: Their names by common name and fingerprint of their certificates; an empty
            fingerprint stands for any certificate of that name.
    """

    named: Mapping[str, User]
    certificates: Mapping[tuple[str, str], str]

    def of_certificate(self, common_name: str, fingerprint: str) -> User | None:
        """Whose a certificate is: a fingerprint that is listed counts before its mere name."""
        found = self.certificates.get((common_name, fingerprint))
        name = self.certificates.get((common_name, "")) if found is None else found
        return None if name is None else self.named[name]
