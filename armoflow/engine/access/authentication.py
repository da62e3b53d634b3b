"""Who calls, and whether they may: by the certificate of a client, as ArmoniK goes by it.

Over TLS it is the one that the connection was made with. On a Unix socket, which the engine's own
user alone can open, what stands before it (an ingress, or the engine's own gRPC-Web) says whose
certificate it has seen, in the headers that ArmoniK's ingress sets.
"""

from __future__ import annotations

import functools
import hashlib
import ssl
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from armoflow.engine.access.users import User, Users
from armoflow.engine.records import StateError
from armoflow.protocol.permissions import all_permissions

COMMON_NAME: Final = "x-certificate-client-cn"
FINGERPRINT: Final = "x-certificate-client-fingerprint"
"""Headers that say whose certificate an ingress has seen."""

_IMPERSONATED: Final = ("x-impersonate-id", "x-impersonate-username")
"""Headers that ask to call as another user; a user's id is the name."""

_STREAM: Final = (
    *("Events:GetEvents", "Results:CreateResults", "Results:CreateResultsMetaData"),
    *("Results:DeleteResultsData", "Results:DownloadResultData", "Results:ListResults"),
    *("Results:UploadResultData", "Tasks:CancelTasks", "Tasks:GetTask", "Tasks:ListTasks"),
    "Tasks:SubmitTasks",
)
_EXTENSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Extension/Connect": _STREAM,
    "Extension/Output": ("Tasks:GetTask",),
    "Extension/EndedTasks": ("Tasks:ListTasks", "Results:ListResults"),
    "Extension/RunningTasks": ("Tasks:ListTasks", "Results:ListResults"),
}
"""What the calls of the extension do, in ArmoniK's names; one that is not here may do all of it."""


class Certificate(NamedTuple):
    """What is known of a client's certificate."""

    common_name: str
    fingerprint: str


class Authentication:
    """Knows who calls.

    Attributes:
        users: All who may; None: everybody, as the same user with all permissions. Others count for
            the calls that begin after they are given.
    """

    def __init__(self, users: Users | None = None) -> None:
        self.users = users

    @property
    def asks(self) -> bool:
        """Whether it matters who calls."""
        return self.users is not None

    def user_of(self, context: Any) -> User:
        """Who makes a call.

        Raises:
            StateError: UNAUTHENTICATED, if it is nobody who may call.
        """
        if self.users is None:
            return anonymous()
        metadata = {name.lower(): value for name, value in context.invocation_metadata() or ()}
        certificate = certificate_of(context.auth_context(), metadata)
        if not (certificate.common_name and certificate.fingerprint):
            raise StateError(
                "UNAUTHENTICATED",
                "this engine knows its users by their client certificates, and none was shown",
            )
        user = self.users.of_certificate(*certificate)
        if user is None:
            raise StateError(
                "UNAUTHENTICATED",
                f"no user has the certificate of {certificate.common_name!r} with the fingerprint "
                f"{certificate.fingerprint}: add it to certificates_list in the file of --users",
            )
        wanted = next((metadata[name] for name in _IMPERSONATED if name in metadata), None)
        return user if wanted is None else self._impersonate(user, wanted)

    def check(self, method: str, context: Any) -> None:
        """Refuse a call that is not permitted.

        Args:
            method: What is called, such as ``Sessions/CreateSession``.
            context: Of the call.

        Raises:
            StateError: UNAUTHENTICATED or PERMISSION_DENIED.
        """
        user = self.user_of(context)
        for permission in _needed(method):
            if not user.may(permission):
                raise StateError(
                    "PERMISSION_DENIED", f"user {user.name!r} lacks the permission {permission}"
                )

    def _impersonate(self, user: User, wanted: str) -> User:
        """The other user that a call is to be made as; there is no falling back to the first."""
        assert self.users is not None
        other = self.users.named.get(wanted)
        if other is None:
            text = f"user {user.name!r} cannot call as {wanted!r}: there is no such user"
            raise StateError("UNAUTHENTICATED", text)
        if missing := user.missing_to_be(other):
            text = f"user {user.name!r} may not call as {wanted!r}: lacks the permission {missing}"
            raise StateError("UNAUTHENTICATED", text)
        return other


@functools.cache
def anonymous() -> User:
    """Who calls where everybody may."""
    return User("Anonymous", (), all_permissions())


def certificate_of(connection: Mapping[str, Any], metadata: Mapping[str, Any]) -> Certificate:
    """The certificate that a call was made with.

    Args:
        connection: What gRPC says of the connection.
        metadata: Of the call; it counts where nothing but an ingress can connect.

    Example:
        >>> certificate_of({}, {"x-certificate-client-cn": "a"})
        Certificate(common_name='a', fingerprint='')
    """
    if b"ssl" not in connection.get("transport_security_type", ()):
        return Certificate(str(metadata.get(COMMON_NAME, "")), str(metadata.get(FINGERPRINT, "")))
    shown, names = connection.get("x509_pem_cert"), connection.get("x509_common_name")
    if not shown or not names:
        return Certificate("", "")
    return Certificate(names[0].decode(errors="replace"), _fingerprint_of_pem(shown[0]))


def fingerprint(certificate: bytes) -> str:
    """The fingerprint of a certificate in DER, as nginx writes it."""
    return hashlib.sha1(certificate, usedforsecurity=False).hexdigest()


@functools.lru_cache(maxsize=256)
def _fingerprint_of_pem(certificate: bytes) -> str:
    return fingerprint(ssl.PEM_cert_to_DER_cert(certificate.decode("ascii")))


@functools.cache
def _needed(method: str) -> tuple[str, ...]:
    """The permissions that a call needs; what is none of ArmoniK's needs a user only."""
    service, _, name = method.partition("/")
    if service == "Extension":
        return _EXTENSIONS.get(method, _STREAM)
    permission = f"{service.removesuffix('Service')}:{name}"
    return (permission,) if permission in all_permissions() else ()
