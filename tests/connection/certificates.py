"""Certificates made for a test: authorities, servers and clients as a deployment makes them."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
WEEK = datetime.timedelta(hours=168)
"""How long the certificates of a deployment's clients live."""


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path
    expires: datetime.datetime

    def as_p12(self, password: bytes = b"") -> Path:
        """The same in one PKCS#12 file, whose password a deployment leaves empty."""
        path = self.certificate.with_suffix(".secret.p12" if password else ".p12")
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        protection = (
            serialization.BestAvailableEncryption(password)
            if password
            else serialization.NoEncryption()
        )
        data = pkcs12.serialize_key_and_certificates(b"x", key, certificate, None, protection)  # type: ignore[arg-type]
        path.write_bytes(data)
        return path


class Authority:
    """Signs certificates.

    Args:
        directory: Where the files go.
        name: Its common name.
    """

    def __init__(self, directory: Path, name: str = "Test Authority") -> None:
        self._directory = directory
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = directory / f"{name.replace(' ', '-')}.crt"
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        signed = (
            self._builder(name, NOW - WEEK, NOW + WEEK)
            .public_key(self._key.public_key())
            .add_extension(constraints, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def identity(
        self,
        name: str,
        *hosts: str,
        begins: datetime.datetime = NOW - datetime.timedelta(hours=1),
        expires: datetime.datetime = NOW + WEEK,
    ) -> Identity:
        """A certificate of this common name; of a server, for these hosts."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(name, begins, expires).public_key(key.public_key())
        if hosts:
            names = x509.SubjectAlternativeName([_host(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        stem = f"{self.certificate.stem}-{name}-{signed.serial_number:x}"[:100]
        identity = Identity(
            self._directory / f"{stem}.crt", self._directory / f"{stem}.key", expires
        )
        identity.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        identity.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return identity

    def _builder(
        self, name: str, begins: datetime.datetime, expires: datetime.datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]))
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(expires)
        )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
