"""What refusals mean: one table, from what arrives to words, with what to do.

What arrives says little: behind an ingress, a status of HTTP that gRPC wraps; of a connection that
does not come about, nothing that can be relied on. Together with what is known here (the client's
certificate, who the engine takes the caller for, what stands at the address) it says much.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from armoflow.errors import EngineError
from armoflow.protocol.caller import Caller
from armoflow.protocol.cases import Case
from armoflow.protocol.credentials import INSTALL
from armoflow.protocol.permissions import permission_of
from armoflow.protocol.probe import Standing

_GATEWAY = (502, 503, 504)
_NOT_FOUND = (404, 405, 415)


class RefusalRow(NamedTuple):
    """An entry of the table.

    Attributes:
        name: What is the matter.
        applies: Whether it is that.
        meaning: What it means, to be formatted with the case as ``c``.
        remedy: What to do, too.
        patience: Seconds in which it may pass by itself, at connecting.
    """

    name: str
    applies: Callable[[Case], bool]
    meaning: str
    remedy: str
    patience: float = 0.0


STARTING_SECONDS = 1.0
"""Seconds for which nobody may listen on this machine: an engine may be starting just now."""


def explain(case: Case) -> str | None:
    """What a refusal means and what to do, by the first row that applies; None: nothing is known.

    Example:
        >>> from armoflow.protocol.settings import ConnectionSettings
        >>> settings = ConnectionSettings("https://cluster:5001")
        >>> text = "Received http2 header with status: 400"
        >>> print(explain(Case(Caller(settings), "INTERNAL", text)))
        the ingress at https://cluster:5001 wants a client certificate and got none: name its \
files with client_certificate and client_key, or client_p12 (arguments of Client, \
ARMOFLOW_CLIENT_..., or keys in the file of AKCONFIG)
    """
    row = find(case)
    return None if row is None else f"{row.meaning}: {row.remedy}".format(c=case)


def refusal(
    error: Any,
    what: str,
    caller: Caller,
    *,
    request: Any = None,
    connecting: bool = False,
) -> EngineError:
    """The error for a call that was refused, in words where they are known.

    Args:
        error: What gRPC raised.
        what: What the call was to do.
        caller: Who made it.
        request: The message that was sent, or its type: it says which permission was needed.
        connecting: It was one of the first calls.
    """
    code, text = error.code().name, error.details() or ""
    permission = "" if request is None else permission_of(request)
    words = explain(Case(caller, code, text, permission, connecting))
    if words is None:
        return EngineError(f"{what}: {text} ({code})", code)
    return EngineError(f"{what}: {words} ({code}: {text})", code)


def find(case: Case) -> RefusalRow | None:
    """The first row that applies to a case."""
    return next((row for row in TABLE if row.applies(case)), None)


def _proxied(case: Case) -> bool:
    lost = case.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED") and case.found is None
    return bool(case.caller.proxy) and (lost or case.status in _NOT_FOUND)


def _nobody(case: Case) -> bool:
    return case.standing is Standing.NOBODY


def _refused_certificate(case: Case) -> bool:
    """The ingress did not let the client's certificate through."""
    if case.standing is Standing.WANTS_CERTIFICATE:
        return True
    return case.settings.secure and case.status == 400


def _unauthenticated(case: Case) -> bool:
    return case.code == "UNAUTHENTICATED"


def _invalid(case: Case, *, expired: bool) -> bool:
    """The certificate was refused, and its time is over, or has not come."""
    certificate = case.caller.certificate
    if certificate is None or not (_refused_certificate(case) or _unauthenticated(case)):
        return False
    return certificate.expires < case.now if expired else certificate.begins > case.now


NAME_IT = (
    "name its files with client_certificate and client_key, or client_p12 (arguments of Client, "
    "ARMOFLOW_CLIENT_..., or keys in the file of AKCONFIG)"
)

TABLE: tuple[RefusalRow, ...] = (
    # --- the connection does not come about ------------------------------------------------------
    RefusalRow(
        "a proxy took the call",
        _proxied,
        "{c.where} does not answer as an ArmoniK does through the proxy {c.caller.proxy}",
        "add {c.settings.host} to the variable no_proxy if it can be reached directly, or let the "
        "proxy pass connections to {c.address}",
    ),
    RefusalRow(
        "the name is unknown",
        lambda c: c.standing is Standing.NAME_UNKNOWN,
        "the name of {c.where} is unknown here ({c.detail})",
        "look for a slip in it; inside a cluster's network only, it needs that network's name "
        "service or a port that is forwarded",
    ),
    RefusalRow(
        "no engine runs on the state directory",
        lambda c: _nobody(c) and bool(c.state),
        "no engine runs on the state directory {c.state}: nobody listens at {c.where} ({c.detail})",
        "the next client with this state=... starts it, and it ends after the last; to have it "
        "without one: `armoflow up --state {c.state} --listen {c.listen}`",
        patience=STARTING_SECONDS,
    ),
    RefusalRow(
        "the engine is gone, from this machine",
        lambda c: c.lost and _nobody(c) and c.settings.local and not c.settings.secure,
        "the engine at {c.where} is gone: nobody listens there any more ({c.detail})",
        "start it again with `armoflow up --listen {c.listen}`, and with the --state that it had",
    ),
    RefusalRow(
        "nobody listens, on this machine",
        lambda c: _nobody(c) and c.settings.local and not c.settings.secure,
        "no ArmoniK answers at {c.where}: nobody listens there ({c.detail})",
        "start one with `armoflow up --listen {c.listen}`; a script for which nothing names an "
        "endpoint has an engine of its own while it runs",
        patience=STARTING_SECONDS,
    ),
    RefusalRow(
        "nobody listens",
        _nobody,
        "no ArmoniK answers at {c.where}: nobody listens there ({c.detail})",
        "look whether the cluster runs, and for its port: gRPC is at 5001 of a deployment's "
        "ingress; a port that was forwarded may have been closed",
    ),
    RefusalRow(
        "no connection comes about",
        lambda c: c.standing is Standing.UNREACHABLE,
        "no ArmoniK answers at {c.where}: no connection comes about ({c.detail})",
        "look at the network between, and whether the machine runs",
    ),
    RefusalRow(
        "connections get no answer",
        lambda c: c.standing is Standing.LOST,
        "no ArmoniK answers at {c.where}: connections get no answer",
        "look for a firewall between, a VPN that is off, and for a slip in host and port",
        patience=math.inf,
    ),
    RefusalRow(
        "plain to a TLS port",
        lambda c: c.standing is Standing.TLS,
        "what listens at {c.where} speaks TLS only",
        "write https://{c.address}",
    ),
    RefusalRow(
        "TLS to a plain port",
        lambda c: c.standing is Standing.PLAIN,
        "what listens at {c.where} does not speak TLS",
        "write http://{c.address}, if the network between may be trusted; an ArmoniK's ingress "
        "speaks TLS where its deployment says so",
    ),
    RefusalRow(
        "TLS does not come about",
        lambda c: c.standing is Standing.DISAGREES,
        "what listens at {c.where} refuses the TLS of this machine ({c.detail})",
        "look which names it answers to (target_name says another one) and which versions of TLS "
        "it speaks, and whether something between answers in its place",
    ),
    RefusalRow(
        "the server's certificate is not valid now",
        lambda c: c.standing is Standing.EXPIRED,
        "{c.server}, is not valid now, at {c.where}",
        "have it renewed, or look at this machine's clock: it is {c.now:%Y-%m-%d %H:%M} UTC here",
    ),
    RefusalRow(
        "the server's certificate is for another name",
        lambda c: c.standing is Standing.OTHER_NAME or "Hostname Verification" in c.text,
        "{c.server}, does not hold the name of {c.where}",
        "write an endpoint with one of its names, or say which one is right: target_name "
        "(argument of Client, or ARMOFLOW_TARGET_NAME)",
    ),
    RefusalRow(
        "the server's certificate has no known authority",
        lambda c: c.standing is Standing.UNTRUSTED or "CERTIFICATE_VERIFY_FAILED" in c.text,
        "{c.server}, is of none of the authorities that are trusted, {c.authority}, at {c.where}",
        "name the file of its authority with certificate_authority (argument of Client, "
        "ARMOFLOW_CERTIFICATE_AUTHORITY, or a key in the file of AKCONFIG); a deployment writes it "
        "to generated/certificates/ingress/ca.crt",
    ),
    RefusalRow(
        "a web server",
        lambda c: c.standing is Standing.WEB,
        "what answers at {c.where} is not an ArmoniK but a web server ({c.detail})",
        "take the port of gRPC: 5001 of a deployment's ingress, 5000 is that of its web pages",
    ),
    RefusalRow(
        "something else answers",
        lambda c: c.standing is Standing.OTHER,
        "what answers at {c.where} is not an ArmoniK, nor gRPC ({c.detail})",
        "look for a slip in host and port",
    ),
    # --- the ingress does not let the caller through ---------------------------------------------
    RefusalRow(
        "the client's certificate has expired",
        lambda c: _invalid(c, expired=True),
        "the client certificate of {c.own.subject!r} expired on {c.expires}: {c.identity}",
        "get a new one for {c.where}; those that a deployment makes live 168 hours",
    ),
    RefusalRow(
        "the client's certificate is not valid yet",
        lambda c: _invalid(c, expired=False),
        "the client certificate of {c.own.subject!r} for {c.where} is valid from {c.begins} on: "
        "{c.identity}",
        "look at this machine's clock: it is {c.now:%Y-%m-%d %H:%M} UTC here",
    ),
    RefusalRow(
        "a client certificate is wanted",
        lambda c: _refused_certificate(c) and not c.settings.identified,
        "the ingress at {c.where} wants a client certificate and got none",
        NAME_IT,
    ),
    RefusalRow(
        "the client's certificate is of another authority",
        lambda c: _refused_certificate(c) and c.caller.certificate is not None,
        "the ingress at {c.where} does not accept the client certificate of {c.own.subject!r}, "
        "signed by {c.own.issuer!r}: {c.identity}",
        "take one that the ingress's own authority has signed, such as "
        "generated/certificates/ingress/client.submitter.crt of the deployment",
    ),
    RefusalRow(
        "the client's certificate is not accepted",
        _refused_certificate,
        "the ingress at {c.where} does not accept the client certificate {c.identity}",
        f"it may have expired, or be of another authority; {INSTALL} lets the next message say so",
    ),
    RefusalRow(
        "a user is wanted",
        lambda c: _unauthenticated(c) and not c.settings.identified,
        "{c.where} wants to know who calls, and got no client certificate",
        NAME_IT,
    ),
    RefusalRow(
        "the certificate is nobody's",
        _unauthenticated,
        "no user of {c.where} has this client certificate: {c.identity}, of {c.subject}",
        "have it added to one of the cluster's users, or take a user's",
    ),
    RefusalRow(
        "a permission lacks",
        lambda c: c.code == "PERMISSION_DENIED",
        "{c.user} lacks {c.right} at {c.where}",
        "have it added to one of the user's roles, or take another user's certificate; in a "
        "deployment, client.submitter has all of them, client.monitoring looks only",
    ),
    # --- the engine is not there, or is none -----------------------------------------------------
    RefusalRow(
        "the ingress reaches no control plane",
        lambda c: c.status in _GATEWAY,
        "the ingress at {c.where} answers, but the control plane behind it does not",
        "look whether the pods of the control plane run; a new one takes some seconds",
        patience=math.inf,
    ),
    RefusalRow(
        "not an ArmoniK",
        lambda c: c.connecting and (c.code == "UNIMPLEMENTED" or c.status in _NOT_FOUND),
        "what answers at {c.where} is not an ArmoniK",
        "look for a slip in host and port: gRPC is at 5001 of a deployment's ingress",
    ),
    RefusalRow(
        "it says nothing",
        lambda c: c.standing is Standing.SILENT,
        "what listens at {c.where} accepts connections and says nothing",
        "look whether it is an ArmoniK, and whether it hangs",
        patience=math.inf,
    ),
)
