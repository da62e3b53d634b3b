"""The files with which an engine proves who it is, and by which it knows its clients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from armoflow.errors import OptionError
from armoflow.protocol.credentials import facts_of
from armoflow.protocol.pem import read_authorities, read_pair


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS of an engine.

    Attributes:
        certificate: File of its certificate, and of those that lead from it to an authority (PEM).
        key: File of its key (PEM).
        client_ca: File of the authorities that the clients' certificates must be from (PEM); None:
            clients show none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def check(self) -> None:
        """Look at the files.

        Raises:
            OptionError: If one cannot be read, does not hold what it should, or has expired.
        """
        chain, _ = self._read_pair()
        _check_dates(chain, f"--tls-cert {self.certificate}")
        if self.client_ca is not None:
            name = f"--client-ca {self.client_ca}"
            _check_dates(read_authorities(self.client_ca, name), name)

    def credentials(self) -> Any:
        """The same for gRPC.

        Raises:
            OptionError: If a file cannot be read any more.
        """
        import grpc

        chain, key = self._read_pair()
        authorities = None
        if self.client_ca is not None:
            authorities = read_authorities(self.client_ca, f"--client-ca {self.client_ca}")
        return grpc.ssl_server_credentials(
            [(key, chain)], authorities, require_client_auth=authorities is not None
        )

    def _read_pair(self) -> tuple[bytes, bytes]:
        return read_pair(
            self.certificate,
            self.key,
            f"--tls-cert {self.certificate}",
            f"--tls-key {self.key}",
            remedy="name the file of the key with --tls-key",
            unlock="write it without (`openssl pkey -in OLD -out NEW`)",
        )


def _check_dates(data: bytes, name: str) -> None:
    """Refuse a certificate whose time is not now, where it can be read."""
    facts, now = facts_of(data), datetime.now(timezone.utc)
    if facts is None or facts.begins <= now <= facts.expires:
        return
    expired = facts.expires < now
    when = facts.expires if expired else facts.begins
    raise OptionError(
        f"{name}: the certificate of {facts.subject!r} "
        f"{'expired on' if expired else 'is valid from'} {when:%Y-%m-%d %H:%M} UTC"
        f"{'' if expired else ' on'}: have it renewed, or look at this machine's clock, where it "
        f"is {now:%Y-%m-%d %H:%M} UTC"
    )
