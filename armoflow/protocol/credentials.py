"""The files of TLS: read, checked, and what a certificate says of itself."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from armoflow.errors import OptionError
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
        authorities = _read(settings, "certificate_authority")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
                cadata=authorities.decode("ascii", "ignore")
            )
        except ssl.SSLError as error:
            raise OptionError(
                f"certificate_authority {settings.named('certificate_authority')} holds no "
                f"certificates in PEM: {_reason(error)}"
            ) from error
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
    certificate = _read(settings, "client_certificate")
    key = certificate if settings.client_key is None else _read(settings, "client_key")
    if b"PRIVATE KEY" not in key:
        where = settings.client_key or settings.client_certificate
        raise OptionError(
            f"there is no private key in {where}: name its file with client_key "
            "(or ARMOFLOW_CLIENT_KEY, or in the file of AKCONFIG)"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert settings.client_certificate is not None
    try:
        # A key that is protected would be asked for on the terminal.
        context.load_cert_chain(settings.client_certificate, settings.client_key, lambda: "")
    except ssl.SSLError as error:
        if b"ENCRYPTED" in key:
            raise OptionError(
                f"the key in {settings.client_key or settings.client_certificate} is protected by "
                "a password: write it without (`openssl pkey -in OLD -out NEW`), or give a PKCS#12 "
                "file: client_p12 and client_p12_password"
            ) from error
        raise OptionError(
            f"client_certificate {settings.named('client_certificate')} and its key do not fit "
            f"together, or are not PEM: {_reason(error)}"
        ) from error
    return certificate, key


def _open_p12(settings: ConnectionSettings) -> tuple[bytes, bytes]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.serialization import pkcs12
    except ImportError as error:
        raise OptionError(
            f"client_p12 {settings.named('client_p12')} cannot be opened without the package "
            f"cryptography: {INSTALL}, or name PEM files: client_certificate and client_key"
        ) from error
    data = _read(settings, "client_p12")
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


def _read(settings: ConnectionSettings, option: str) -> bytes:
    path: Path = getattr(settings, option)
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OptionError(f"{option} {settings.named(option)} cannot be read: {reason}") from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "nothing in it is").lower().replace("_", " ")
