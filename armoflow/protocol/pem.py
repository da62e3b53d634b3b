"""Files of TLS in PEM: read, and refused with words where they are not what they should be."""

from __future__ import annotations

import ssl
from pathlib import Path

from armoflow.errors import OptionError


def read_file(path: Path, name: str) -> bytes:
    """The bytes of a file.

    Args:
        path: Where it is.
        name: The option that names it, with its value.

    Raises:
        OptionError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OptionError(f"{name} cannot be read: {reason}") from error


def read_authorities(path: Path, name: str) -> bytes:
    """The certificates of authorities, which may be several.

    Args:
        path: Where they are.
        name: The option that names the file, with its value.

    Raises:
        OptionError: If it cannot be read, or holds none.
    """
    authorities = read_file(path, name)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            cadata=authorities.decode("ascii", "ignore")
        )
    except ssl.SSLError as error:
        raise OptionError(f"{name} holds no certificates in PEM: {_reason(error)}") from error
    return authorities


def read_pair(
    certificate: Path, key: Path | None, name: str, key_name: str, *, remedy: str, unlock: str
) -> tuple[bytes, bytes]:
    """A certificate and its key, which belong together.

    Args:
        certificate: File of the certificate.
        key: File of its key; None: it is in the certificate's file.
        name: The option that names the certificate, with its value.
        key_name: The same of the key.
        remedy: What to do where no key is found.
        unlock: What to do where it is protected by a password.

    Raises:
        OptionError: If one cannot be read, or they are no pair.
    """
    chain = read_file(certificate, name)
    secret = chain if key is None else read_file(key, key_name)
    where = key or certificate
    if b"PRIVATE KEY" not in secret:
        raise OptionError(f"there is no private key in {where}: {remedy}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # A key that is protected would be asked for on the terminal.
        context.load_cert_chain(certificate, key, lambda: "")
    except ssl.SSLError as error:
        if b"ENCRYPTED" in secret:
            raise OptionError(f"the key in {where} is protected by a password: {unlock}") from error
        raise OptionError(
            f"{name} and its key do not fit together, or are not PEM: {_reason(error)}"
        ) from error
    return chain, secret


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "nothing in it is").lower().replace("_", " ")
