"""What stands at an address: asked over a socket of its own once gRPC could not get through.

gRPC says little of why a connection fails, and other words in each version. So the address is
looked at without it: name, port, TLS, the server's certificate, the first bytes of HTTP/2.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import socket
import ssl
import time
from dataclasses import dataclass

from armoflow.protocol.credentials import CertificateFacts, facts_of
from armoflow.protocol.settings import ConnectionSettings

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""How a client of HTTP/2 begins, with empty settings."""

_BEGINNING = 9
"""Bytes of the head of a frame."""

_SETTINGS = 4
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED)
_OTHER_NAME = (62, 64)
_EXPIRED = (9, 10)
"""Codes of OpenSSL: another host, another address; not valid yet, and any more."""

_REFUSED_CERTIFICATE = ("CERTIFICATE", "HANDSHAKE_FAILURE", "UNKNOWN_CA", "ACCESS_DENIED")
"""Of what OpenSSL calls the alerts with which a server refuses a client's certificate, or none."""


class Standing(enum.Enum):
    """What was found."""

    AS_ASKED = "it speaks what was asked for"
    NAME_UNKNOWN = "the name is unknown"
    NOBODY = "nobody listens"
    UNREACHABLE = "no connection comes about"
    LOST = "connections get no answer"
    SILENT = "it accepts connections and says nothing"
    TLS = "it speaks TLS"
    PLAIN = "it does not speak TLS"
    WEB = "it is a web server"
    OTHER = "it speaks something else"
    UNTRUSTED = "its certificate is of an unknown authority"
    OTHER_NAME = "its certificate is for another name"
    EXPIRED = "its certificate is not valid now"
    WANTS_CERTIFICATE = "it wants a client's certificate"
    DISAGREES = "its TLS does not agree with this side's"


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """What stands at an address.

    Attributes:
        standing: What.
        detail: The system's words for it.
        server: What the server's certificate says, where it has one.
    """

    standing: Standing
    detail: str = ""
    server: CertificateFacts | None = None


def probe(settings: ConnectionSettings, authorities: bytes | None, seconds: float) -> ProbeOutcome:
    """Look at what stands at an endpoint; raises nothing.

    Args:
        settings: Where, and how.
        authorities: The authorities to trust, in PEM; None: those of this system.
        seconds: How long to wait for each of its answers, of which there are three at most.
    """
    looking = _Probe(settings, seconds)
    try:
        return looking.tls(authorities) if settings.secure else looking.plain()
    except (socket.gaierror, UnicodeError) as error:
        return ProbeOutcome(Standing.NAME_UNKNOWN, _words(error))
    except TimeoutError:
        return ProbeOutcome(Standing.LOST, f"no answer within {seconds:g} s")
    except OSError as error:
        absent = error.errno in _ABSENT
        return ProbeOutcome(Standing.NOBODY if absent else Standing.UNREACHABLE, _words(error))


class _Probe:
    def __init__(self, settings: ConnectionSettings, seconds: float) -> None:
        self._settings = settings
        self._seconds = seconds
        self._name = settings.target_name or settings.host

    def plain(self) -> ProbeOutcome:
        with self._connect() as connection:
            first = self._greet(connection)
        if _is_http2(first):
            return ProbeOutcome(Standing.AS_ASKED)
        if not self._settings.path:
            certificate = self._certificate()
            if certificate is not None:
                return ProbeOutcome(Standing.TLS, server=facts_of(certificate))
        return ProbeOutcome(Standing.SILENT) if first is None else _stranger(first)

    def tls(self, authorities: bytes | None) -> ProbeOutcome:
        known = authorities.decode("ascii", "ignore") if authorities else None
        context = ssl.create_default_context(cadata=known)
        context.set_alpn_protocols(["h2"])
        self._identify(context)
        with self._connect() as connection:
            try:
                secured = context.wrap_socket(connection, server_hostname=self._name)
            except ssl.SSLCertVerificationError as error:
                server = facts_of(self._certificate() or b"")
                return ProbeOutcome(_verdict(error), error.verify_message, server)
            except ssl.SSLError as error:
                return ProbeOutcome(_refusal(error), _words(error))
            except OSError as error:  # it hung up, or said nothing
                return self._without_tls(error)
        with secured:
            return self._inside(secured)

    def _identify(self, context: ssl.SSLContext) -> None:
        """Show the client's certificate, where it is in files of the form that OpenSSL reads."""
        if self._settings.client_certificate is not None:
            with contextlib.suppress(OSError):  # they were read once, and may have gone meanwhile
                context.load_cert_chain(
                    self._settings.client_certificate, self._settings.client_key
                )

    def _inside(self, secured: ssl.SSLSocket) -> ProbeOutcome:
        server = facts_of(secured.getpeercert(True) or b"")
        try:
            first = self._greet(secured)
        except ssl.SSLError as error:  # TLS 1.3 says only now that it wants a certificate
            return ProbeOutcome(Standing.WANTS_CERTIFICATE, _words(error), server)
        if _is_http2(first):
            return ProbeOutcome(Standing.AS_ASKED, server=server)
        if first == b"" and secured.selected_alpn_protocol() == "h2":  # it was ready for more
            return ProbeOutcome(Standing.WANTS_CERTIFICATE, "it hung up", server)
        return (
            ProbeOutcome(Standing.SILENT, server=server)
            if first is None
            else _stranger(first, server)
        )

    def _without_tls(self, error: OSError) -> ProbeOutcome:
        with self._connect() as connection:
            spoken = self._greet(connection)
        return ProbeOutcome(Standing.PLAIN if spoken else Standing.SILENT, _words(error))

    def _connect(self) -> socket.socket:
        """Connect to a socket's path, or to the first address of a host that is there."""
        settings = self._settings
        if not settings.path:
            return socket.create_connection((settings.host, settings.port), self._seconds)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self._seconds)
        try:
            connection.connect(settings.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _greet(self, connection: socket.socket) -> bytes | None:
        """What is said to a client of HTTP/2: nothing at all (None), or the end (empty)."""
        first = b""
        deadline = time.monotonic() + self._seconds
        try:
            connection.sendall(_PREFACE)
            while len(first) < _BEGINNING and time.monotonic() < deadline:
                more = connection.recv(1024)
                if not more:
                    break
                first += more
        except TimeoutError:
            return first or None
        except ssl.SSLError:
            raise
        except OSError:  # it hung up
            return first
        return first

    def _certificate(self) -> bytes | None:
        """What stands there says it is, believed or not; None where it speaks no TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with (
                self._connect() as connection,
                context.wrap_socket(connection, server_hostname=self._name) as secured,
            ):
                return secured.getpeercert(True)
        except OSError:
            return None


def _verdict(error: ssl.SSLCertVerificationError) -> Standing:
    if error.verify_code in _EXPIRED:
        return Standing.EXPIRED
    return Standing.OTHER_NAME if error.verify_code in _OTHER_NAME else Standing.UNTRUSTED


def _refusal(error: ssl.SSLError) -> Standing:
    """What it means that a handshake failed."""
    reason = error.reason or ""
    if not reason.startswith(("TLSV1", "SSLV3_ALERT")):  # an alert, which TLS alone sends
        return Standing.PLAIN
    refused = any(part in reason for part in _REFUSED_CERTIFICATE)
    return Standing.WANTS_CERTIFICATE if refused else Standing.DISAGREES


def _is_http2(first: bytes | None) -> bool:
    """Whether a server began with its settings."""
    return (
        first is not None
        and len(first) >= _BEGINNING
        and first[3] == _SETTINGS
        and first[5:9] == bytes(4)
    )


def _stranger(first: bytes, server: CertificateFacts | None = None) -> ProbeOutcome:
    if first.startswith(b"HTTP/"):
        return ProbeOutcome(
            Standing.WEB, first.partition(b"\r")[0].decode("ascii", "replace"), server
        )
    if first.lower().startswith((b"<!doctype html", b"<html")):
        return ProbeOutcome(Standing.WEB, "it sends a page", server)
    said = f"it begins with {first[:16]!r}" if first else "it hung up"
    return ProbeOutcome(Standing.OTHER, said, server)


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return (getattr(error, "strerror", None) or str(error)).lower()
