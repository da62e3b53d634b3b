"""What is known of a call that failed: who made it, what arrived, what stands at the address."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from armoflow.errors import EngineError
from armoflow.protocol.caller import Caller
from armoflow.protocol.credentials import CertificateFacts
from armoflow.protocol.probe import ProbeOutcome, Standing
from armoflow.protocol.resolve import STATE_VARIABLE
from armoflow.protocol.settings import ConnectionSettings
from armoflow.system.meeting import shared_endpoint

_STATUS = re.compile(r"status: (\d{3})\b")
_PERMISSION = re.compile(r"the permission (\w+:\w+)")

_PROXYING = ("grpc_proxy", "https_proxy", "http_proxy")
_SPARING = ("no_grpc_proxy", "no_proxy")
"""Variables that gRPC reads, in its order."""


@dataclass(frozen=True, slots=True)
class Case:
    """A call that was refused, with all that is known of it.

    Attributes:
        caller: Who called, and where.
        code: Name of the gRPC status.
        text: The text beside it.
        permission: What ArmoniK calls the right to make this call.
        connecting: It was one of the first calls: what answers may be anything.
        found: What stands at the address, where that was looked at.
        now: The time.
    """

    caller: Caller
    code: str
    text: str = ""
    permission: str = ""
    connecting: bool = False
    found: ProbeOutcome | None = None
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    @property
    def status(self) -> int:
        """The status of HTTP that gRPC wrapped; 0 where there is none."""
        found = _STATUS.search(self.text)
        return int(found[1]) if found else 0

    @property
    def right(self) -> str:
        """What the caller lacks, as well as it is known: an engine of armoflow's says it."""
        said = _PERMISSION.search(self.text)
        permission = said[1] if said else self.permission
        return f"the permission {permission}" if permission else "a permission"

    @property
    def settings(self) -> ConnectionSettings:
        """How the engine is reached."""
        return self.caller.settings

    @property
    def lost(self) -> bool:
        """Whether an engine was there that does not answer any more."""
        return self.found is not None and not self.connecting

    @property
    def standing(self) -> Standing | None:
        """What stands at the address."""
        return None if self.found is None else self.found.standing

    @property
    def detail(self) -> str:
        """The system's words for it."""
        return "" if self.found is None else self.found.detail

    @property
    def where(self) -> str:
        """The endpoint; and who named it, if it was not the script."""
        origin = self.settings.origins.get("endpoint")
        told = origin is None or origin.kind == "argument"
        return self.settings.endpoint if told else self.settings.named("endpoint")

    @property
    def address(self) -> str:
        """The endpoint without its scheme."""
        return self.settings.target

    @property
    def listen(self) -> str:
        """The endpoint as `armoflow up` takes it."""
        path = self.settings.path
        return f"unix:{path}" if path else self.address

    @property
    def state(self) -> str:
        """The state directory whose clients share the engine that is meant; nothing, if none do."""
        places = [Path(self.settings.path).parent]
        if os.environ.get(STATE_VARIABLE):  # a long path's socket is elsewhere
            places.append(Path(os.environ[STATE_VARIABLE]).expanduser().resolve())
        for place in places if self.settings.path else ():
            with contextlib.suppress(EngineError):  # no place for its socket: it is not meant
                if place.is_dir() and shared_endpoint(place) == self.settings.endpoint:
                    return shlex.quote(str(place))
        return ""

    @property
    def authority(self) -> str:
        """Which authorities are trusted."""
        if self.settings.certificate_authority is None:
            return "those that are known everywhere"
        return f"those in {self.settings.named('certificate_authority')}"

    @property
    def identity(self) -> str:
        """The file of the client's certificate."""
        name = "client_certificate" if self.settings.client_p12 is None else "client_p12"
        return self.settings.named(name)

    @property
    def own(self) -> CertificateFacts:
        """The client's certificate."""
        assert self.caller.certificate is not None
        return self.caller.certificate

    @property
    def subject(self) -> str:
        """Whose the client's certificate is, where that can be read."""
        return repr(self.own.subject) if self.caller.certificate is not None else "someone"

    @property
    def server(self) -> str:
        """The server's certificate, in words."""
        facts = None if self.found is None else self.found.server
        if facts is None:
            return f"the server's certificate ({self.detail or 'it says no more'})"
        return (
            f"the server's certificate, of {facts.subject!r}, signed by {facts.issuer!r}, for "
            f"{', '.join(facts.names) or 'no host'}, valid from {_day(facts.begins)} to "
            f"{_day(facts.expires)}"
        )

    @property
    def user(self) -> str:
        """Who calls, as well as it is known."""
        if self.caller.user:
            return f"user {self.caller.user!r}"
        if self.caller.certificate is not None:
            return f"whoever the certificate of {self.own.subject!r} belongs to"
        return "whoever calls without a client certificate"

    @property
    def begins(self) -> str:
        """When the client's certificate begins to be valid."""
        return _day(self.own.begins)

    @property
    def expires(self) -> str:
        """When it ends to be."""
        return _day(self.own.expires)


def proxy_of(settings: ConnectionSettings) -> str:
    """The proxy over which gRPC goes to an endpoint, with its variable; empty: none."""
    if not settings.endpoint or settings.local:
        return ""
    spared = next((os.environ[name] for name in _SPARING if os.environ.get(name)), "")
    names = [name.strip().lstrip(".") for name in spared.split(",")]
    if any(name and settings.host.endswith(name) for name in names):
        return ""
    for variable in _PROXYING:
        if value := os.environ.get(variable):
            scheme, separator, place = value.rpartition("//")
            place = place.rpartition("@")[2]  # its password is not shown
            return f"{scheme}{separator}{place} ({variable})"
    return ""


def _day(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
