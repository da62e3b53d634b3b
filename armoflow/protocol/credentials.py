"""The files of TLS: read, checked, and what a certificate says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from armoflow.errors import OptionError
from armoflow.protocol.pem import read_authorities, read_file, read_pair
from armoflow.protocol.settings import ConnectionSettings

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Name

INSTALL = "pip install 'armoflow[tls]'"


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says of itself.

    Attributes:
        subject: Whose it is: the common name, or all names there are.
        issuer: Who has signed it.
        names: The hosts that it is for.
        begins: From when on it is valid.
        expires: Until when.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    begins: datetime
    expires: datetime


@dataclass(frozen=True, slots=True)
class Credentials:
    """What TLS needs, as PEM: the authorities, the client's certificate and its key."""

    authorities: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


def load(settings: ConnectionSettings) -> Credentials:
    """Read the files that the settings name.

    Raises:
        OptionError: If one cannot be read, or does not hold what it should.
    """
    authorities = None
    if settings.certificate_authority is not None:
        authorities = read_authorities(
            settings.certificate_authority, _named(settings, "certificate_authority")
        )
    if settings.client_p12 is not None:
        return Credentials(authorities, *_open_p12(settings))
    if settings.client_certificate is not None:
        return Credentials(authorities, *_read_pair(settings))
    return Credentials(authorities)


def facts_of(data: bytes) -> CertificateFacts | None:
    """What the first certificate in PEM, or one in DER, says of itself.

    None where it cannot be read, or where ``cryptography`` is not installed.
    """
    try:
        from cryptography import x509
    except ImportError:
        return None
    try:
        if b"-----BEGIN" in data:
            return _facts(x509.load_pem_x509_certificate(data))
        return _facts(x509.load_der_x509_certificate(data))
    except ValueError:
        return None


def _facts(certificate: Certificate) -> CertificateFacts:
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = tuple(str(name.value) for name in extension.value)
    except (x509.ExtensionNotFound, ValueError):
        names = ()
    return CertificateFacts(
        subject=_common(certificate.subject),
        issuer=_common(certificate.issuer),
        names=names,
        begins=certificate.not_valid_before_utc,
        expires=certificate.not_valid_after_utc,
    )


def _common(name: Name) -> str:
    from cryptography.x509.oid import NameOID

    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()


def _read_pair(settings: ConnectionSettings) -> tuple[bytes, bytes]:
    """The client's certificate and its key, which belong together."""
    assert settings.client_certificate is not None
    return read_pair(
        settings.client_certificate,
        settings.client_key,
        _named(settings, "client_certificate"),
        _named(settings, "client_key"),
        remedy="name its file with client_key (or ARMOFLOW_CLIENT_KEY, or in the file of AKCONFIG)",
        unlock="write it without (`openssl pkey -in OLD -out NEW`), or give a PKCS#12 file: "
        "client_p12 and client_p12_password",
    )


def _open_p12(settings: ConnectionSettings) -> tuple[bytes, bytes]:
    assert settings.client_p12 is not None
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.serialization import pkcs12
    except ImportError as error:
        raise OptionError(
            f"client_p12 {settings.named('client_p12')} cannot be opened without the package "
            f"cryptography: {INSTALL}, or name PEM files: client_certificate and client_key"
        ) from error
    data = read_file(settings.client_p12, _named(settings, "client_p12"))
    try:
        password = settings.client_p12_password.encode() or None
        key, certificate, others = pkcs12.load_key_and_certificates(data, password)
    except ValueError as error:
        raise OptionError(
            f"client_p12 {settings.named('client_p12')} cannot be opened: its password "
            "(client_p12_password) is another one, or it is no PKCS#12 file"
        ) from error
    if key is None or certificate is None:
        raise OptionError(
            f"client_p12 {settings.named('client_p12')} holds no certificate with its key"
        )
    pem = serialization.Encoding.PEM
    chain = b"".join(each.public_bytes(pem) for each in (certificate, *others))
    form = serialization.PrivateFormat.PKCS8
    return chain, key.private_bytes(pem, form, serialization.NoEncryption())


def _named(settings: ConnectionSettings, option: str) -> str:
    return f"{option} {settings.named(option)}"
