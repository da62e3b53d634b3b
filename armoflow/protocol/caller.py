"""Who calls an engine, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from armoflow.protocol.settings import ConnectionSettings
from armoflow.protocol.traffic import Traffic

if TYPE_CHECKING:
    from armoflow.protocol.credentials import CertificateFacts


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and where: what does not change from call to call.

    Attributes:
        settings: How the engine is reached.
        certificate: What the client's certificate says; None where there is none to be read.
        user: Who the engine takes the caller for, where it says so.
        proxy: The proxy on the way, with the variable that names it.
        authorities: The authorities that the server's certificate may be from, in PEM; None: those
            that are known everywhere.
        traffic: What is on its way.
    """

    settings: ConnectionSettings
    certificate: CertificateFacts | None = None
    user: str = ""
    proxy: str = ""
    authorities: bytes | None = field(default=None, repr=False)
    traffic: Traffic = field(default_factory=Traffic, repr=False, compare=False)

    @property
    def endpoint(self) -> str:
        """Where the engine is."""
        return self.settings.endpoint
