"""The table of refusals: each row with the true text of gRPC, and from what makes it."""

from __future__ import annotations

import dataclasses
import datetime
import http.server
import re
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from armoflow import Client, task
from armoflow.errors import EngineError, EngineUnreachableError
from armoflow.protocol import silence
from armoflow.protocol.caller import Caller
from armoflow.protocol.cases import Case
from armoflow.protocol.credentials import CertificateFacts, load
from armoflow.protocol.probe import ProbeOutcome, Standing, probe
from armoflow.protocol.refusals import TABLE, explain, find
from armoflow.protocol.settings import ConnectionSettings
from armoflow.system.meeting import shared_endpoint
from tests.connection.certificates import NOW, WEEK, Authority, Identity
from tests.connection.nginx import Ingress, ingress
from tests.integration.engines import Up

HOUR = datetime.timedelta(hours=1)
CONNECTING = "failed to connect to all addresses; last error: "
HTTP = "Received http2 header with status: "


# --- the table, without a network -----------------------------------------------------------------


class Arrival(NamedTuple):
    """What arrives: the name of the status, and how its text matches."""

    code: str
    text: str
    standing: Standing | None = None


ARRIVALS: dict[str, Arrival] = {
    "a proxy took the call": Arrival(
        "UNAVAILABLE", f"{CONNECTING}UNKNOWN: ipv4:.*: HTTP proxy returned response code 501"
    ),
    "the name is unknown": Arrival(
        "UNAVAILABLE", "errors resolving no-such-host.invalid:5001: .*", Standing.NAME_UNKNOWN
    ),
    "no engine runs on the state directory": Arrival(
        "UNAVAILABLE", f"{CONNECTING}.*No such file", Standing.NOBODY
    ),
    "the engine is gone, from this machine": Arrival("UNAVAILABLE", ".*", Standing.NOBODY),
    "nobody listens, on this machine": Arrival(
        "UNAVAILABLE", f"{CONNECTING}.*(Connection refused|No such file)", Standing.NOBODY
    ),
    "nobody listens": Arrival("UNAVAILABLE", f"{CONNECTING}.*refused", Standing.NOBODY),
    "no connection comes about": Arrival("UNAVAILABLE", CONNECTING, Standing.UNREACHABLE),
    "connections get no answer": Arrival(
        "DEADLINE_EXCEEDED|UNAVAILABLE", "Deadline Exceeded|.*", Standing.LOST
    ),
    "plain to a TLS port": Arrival(
        "UNAVAILABLE", rf"{CONNECTING}.*Failed parsing HTTP/2 .*\(HTTP status 400\)", Standing.TLS
    ),
    "TLS to a plain port": Arrival(
        "UNAVAILABLE", f"{CONNECTING}.* handshake failed .*WRONG_VERSION_NUMBER", Standing.PLAIN
    ),
    "TLS does not come about": Arrival(
        "UNAVAILABLE", f"{CONNECTING}.*handshake failed", Standing.DISAGREES
    ),
    "the server's certificate is not valid now": Arrival(
        "UNAVAILABLE",
        f"{CONNECTING}.*CERTIFICATE_VERIFY_FAILED: certificate has expired",
        Standing.EXPIRED,
    ),
    "the server's certificate is for another name": Arrival(
        "UNAVAILABLE", f"{CONNECTING}.*Hostname Verification Check failed.", Standing.OTHER_NAME
    ),
    "the server's certificate has no known authority": Arrival(
        "UNAVAILABLE",
        f"{CONNECTING}.*CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate",
        Standing.UNTRUSTED,
    ),
    "a web server": Arrival("UNAVAILABLE", f"{CONNECTING}.*Failed parsing HTTP/2", Standing.WEB),
    "something else answers": Arrival("UNAVAILABLE", CONNECTING, Standing.OTHER),
    "the client's certificate has expired": Arrival("INTERNAL", f"{HTTP}400"),
    "the client's certificate is not valid yet": Arrival("INTERNAL", f"{HTTP}400"),
    "a client certificate is wanted": Arrival("INTERNAL", f"{HTTP}400"),
    "the client's certificate is of another authority": Arrival("INTERNAL", f"{HTTP}400"),
    "the client's certificate is not accepted": Arrival("INTERNAL", f"{HTTP}400"),
    "a user is wanted": Arrival("UNAUTHENTICATED", f"{HTTP}401"),
    "the certificate is nobody's": Arrival("UNAUTHENTICATED", f"{HTTP}401"),
    "a permission lacks": Arrival("PERMISSION_DENIED", f"{HTTP}403"),
    "the ingress reaches no control plane": Arrival("UNAVAILABLE", f"{HTTP}502"),
    "not an ArmoniK": Arrival("UNIMPLEMENTED", "Method not found!"),
    "it says nothing": Arrival("UNAVAILABLE|DEADLINE_EXCEEDED", ".*", Standing.SILENT),
}
"""What arrives in each row's case, with the grpcio that is installed."""

OWN = CertificateFacts("client.submitter", "Test Authority", (), NOW - HOUR, NOW + HOUR)
TLS = ConnectionSettings("https://cluster:5001", client_certificate=Path("/c.crt"))
PLAIN = ConnectionSettings("http://127.0.0.1:5001")

CALLERS: dict[str, Caller] = {
    "a proxy took the call": Caller(TLS, proxy="http://proxy:3128 (https_proxy)"),
    "no engine runs on the state directory": Caller(
        ConnectionSettings(shared_endpoint(Path("/tmp")))
    ),
    "the engine is gone, from this machine": Caller(PLAIN),
    "nobody listens, on this machine": Caller(PLAIN),
    "plain to a TLS port": Caller(PLAIN),
    "the client's certificate has expired": Caller(
        TLS, dataclasses.replace(OWN, expires=NOW - HOUR)
    ),
    "the client's certificate is not valid yet": Caller(
        TLS, dataclasses.replace(OWN, begins=NOW + HOUR)
    ),
    "a client certificate is wanted": Caller(ConnectionSettings("https://cluster:5001")),
    "the client's certificate is not accepted": Caller(TLS),
    "a user is wanted": Caller(ConnectionSettings("https://cluster:5001")),
}


def case_of(row: str) -> Case:
    """The case of a row, with the text as it came once."""
    arrival = ARRIVALS[row]
    found = None if arrival.standing is None else ProbeOutcome(arrival.standing, "said so", OWN)
    return Case(
        CALLERS.get(row, Caller(TLS, OWN, user="submitter")),
        arrival.code.partition("|")[0],
        arrival.text,
        permission="Sessions:CreateSession",
        connecting=row != "the engine is gone, from this machine",
        found=found,
        now=NOW,
    )


@pytest.mark.parametrize("row", [row.name for row in TABLE])
def test_a_row_has_its_case_and_words_for_it(row: str) -> None:
    case = case_of(row)
    found = find(case)
    assert found is not None
    assert found.name == row
    words = explain(case)
    assert words is not None
    assert "{" not in words
    assert case.settings.endpoint in words


def test_what_is_in_no_row_is_not_explained() -> None:
    for code, text in [
        ("NOT_FOUND", "no such session"),
        ("UNKNOWN", "Unknown exception, see ArmoniK logs"),
        ("INVALID_ARGUMENT", "priority"),
        ("INTERNAL", f"{HTTP}500"),
    ]:
        assert find(Case(Caller(TLS, OWN), code, text, connecting=True)) is None
    assert find(Case(Caller(PLAIN), "INTERNAL", f"{HTTP}400")) is None
    assert find(Case(Caller(PLAIN), "UNIMPLEMENTED", "no WatchResults here")) is None


def test_armoflow_up_is_proposed_for_this_machine_only() -> None:
    """And without TLS: there, it is a port that leads elsewhere."""
    proposed = {}
    for endpoint in (
        *("http://127.0.0.1:5001", "http://localhost:1", "unix:/run/s", "http://[::1]:1"),
        *("https://127.0.0.1:5001", "http://10.0.0.1:5001", "https://cluster:5001"),
    ):
        caller = Caller(ConnectionSettings(endpoint))
        case = Case(caller, "UNAVAILABLE", connecting=True, found=ProbeOutcome(Standing.NOBODY))
        words = explain(case)
        assert words is not None
        proposed[endpoint] = "`armoflow up --listen" in words
    assert [endpoint for endpoint, said in proposed.items() if said] == [
        *("http://127.0.0.1:5001", "http://localhost:1", "unix:/run/s", "http://[::1]:1")
    ]


def test_the_documentation_has_every_row() -> None:
    page = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| ([^|]+?) \|", page, re.MULTILINE)
    assert [row.name for row in TABLE if row.name not in documented] == []


# --- from what makes them -------------------------------------------------------------------------


@contextmanager
def web_server() -> Iterator[int]:
    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        try:
            yield served.server_port
        finally:
            served.shutdown()
            thread.join()


@contextmanager
def speaker(words: bytes | None) -> Iterator[int]:
    """Accepts connections, and says the same to all of them; None: nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as kept:

        def serve() -> None:
            while True:
                try:
                    connection = kept.enter_context(listening.accept()[0])
                except OSError:
                    return
                if words is not None:
                    with suppress(OSError):  # who has heard enough may be gone
                        connection.sendall(words)
                        connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def deaf() -> Iterator[int]:
    """Its queue of connections is full: the system does not answer for it."""
    with socket.socket() as listening, ExitStack() as waiting:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            connection = waiting.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


@contextmanager
def grpc_server(*credentials: Any) -> Iterator[int]:
    """A server of gRPC that is no ArmoniK."""
    served = grpc.server(futures.ThreadPoolExecutor(1))
    if credentials:
        port = served.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(*credentials))
    else:
        port = served.add_insecure_port("127.0.0.1:0")
    served.start()
    try:
        yield port
    finally:
        served.stop(None).wait()


def refused(row: str, endpoint: str, *says: str, timeout: float = 20.0, **options: Any) -> None:
    """A client is refused: as the row says, in these words, because of what gRPC said."""
    arrival = ARRIVALS[row]
    with pytest.raises((EngineError, EngineUnreachableError)) as raised:
        Client(endpoint, connect_timeout=timeout, **options)
    words = str(raised.value)
    assert endpoint in words
    for said in says:
        assert said in words
    cause = raised.value.__cause__
    assert isinstance(cause, grpc.RpcError)
    assert re.fullmatch(arrival.code, cause.code().name)
    assert re.match(arrival.text, cause.details() or ""), cause.details()
    if isinstance(raised.value, EngineError):
        assert raised.value.code == cause.code().name


def test_a_name_that_is_unknown() -> None:
    refused(
        "the name is unknown",
        "https://no-such-host.invalid:5001",
        "the name of https://no-such-host.invalid:5001 is unknown here",
        "look for a slip",
    )


def test_a_network_that_leads_nowhere() -> None:
    refused(
        "no connection comes about",
        "http://255.255.255.255:5001",
        "no connection comes about (network is unreachable): look at the network between",
    )


def test_nobody_listens(free_port: int, tmp_path: Path) -> None:
    here = f"127.0.0.1:{free_port}"
    row = "nobody listens, on this machine"
    refused(row, f"http://{here}", "(connection refused)", f"`armoflow up --listen {here}`")
    for path in (f"{tmp_path}/none", "/nonexistent/directory/socket"):
        refused(row, f"unix:{path}", "(no such file or dir", f"`armoflow up --listen unix:{path}`")
    refused("nobody listens", f"https://{here}", "gRPC is at 5001 of a deployment's ingress")


def test_nobody_listens_at_the_socket_of_a_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its --state, `armoflow up` would start an engine that knows nothing."""
    row = "no engine runs on the state directory"
    far = tmp_path / ("deep" * 30)  # its socket is elsewhere: paths of sockets are short
    far.mkdir()
    monkeypatch.setenv("ARMOFLOW_STATE", str(far))
    with tempfile.TemporaryDirectory(prefix="af-") as near:
        for state in (Path(near).resolve(), far):
            endpoint = shared_endpoint(state)
            refused(row, endpoint, f"`armoflow up --state {state} --listen {endpoint}`")


def test_an_engine_that_is_just_starting(engine: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens yet when the client comes: on this machine it waits a moment."""
    with tempfile.TemporaryDirectory(prefix="af-") as directory:
        place = Path(directory) / "s"

        def starts_now(*arguments: Any) -> ProbeOutcome:
            found = probe(*arguments)
            if not place.is_symlink():
                assert found.standing is Standing.NOBODY
                place.symlink_to(engine.endpoint.removeprefix("unix:"))
            return found

        monkeypatch.setattr(silence, "probe", starts_now)
        with Client(f"unix:{place}") as client:
            assert client.compute(double(1)) == 2


def test_who_does_not_answer() -> None:
    with speaker(None) as port:
        says = "accepts connections and says nothing"
        refused("it says nothing", f"http://127.0.0.1:{port}", says, timeout=0.3)
        refused("it says nothing", f"https://127.0.0.1:{port}", says, timeout=0.3)
    with deaf() as port:
        says = "connections get no answer: look for a firewall"
        refused("connections get no answer", f"http://127.0.0.1:{port}", says, timeout=0.3)


def test_who_is_no_armonik() -> None:
    with web_server() as port:
        says = "not an ArmoniK but a web server ("
        refused("a web server", f"http://127.0.0.1:{port}", says)
    with speaker(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        says = "nor gRPC (it begins with b'SSH-2.0-OpenSSH_'"
        refused("something else answers", f"http://127.0.0.1:{port}", says)
    with grpc_server() as port:
        refused("not an ArmoniK", f"http://127.0.0.1:{port}", "is not an ArmoniK: look for a slip")


def test_plain_to_tls_and_the_reverse(tls: Ingress, engine: Up, tmp_path: Path) -> None:
    refused(
        "plain to a TLS port",
        f"http://127.0.0.1:{tls.port}",
        f"speaks TLS only: write https://127.0.0.1:{tls.port}",
    )
    with ingress(tmp_path, engine.endpoint) as plain:
        address = f"127.0.0.1:{plain.port}"
        says = f"does not speak TLS: write http://{address}"
        refused("TLS to a plain port", f"https://{address}", says)


def test_tls_of_grpc_itself(server: Identity, authority: Authority, stranger: Authority) -> None:
    """Its server says less than nginx, and asks for certificates during the handshake."""
    pair = [(server.key.read_bytes(), server.certificate.read_bytes())]
    only = "TLS only: write https://"
    with grpc_server(pair) as port, pytest.raises(EngineUnreachableError, match=only):
        Client(f"http://127.0.0.1:{port}")
    trusted: dict[str, Any] = {"certificate_authority": authority.certificate}
    with grpc_server(pair, authority.certificate.read_bytes(), True) as port:
        with pytest.raises(EngineUnreachableError, match="wants a client certificate and got none"):
            Client(f"https://127.0.0.1:{port}", **trusted)
        other = stranger.identity("client.submitter")
        with pytest.raises(EngineUnreachableError, match=r"does not accept .* 'Other A"):
            Client(
                f"https://127.0.0.1:{port}",
                certificate_authority=authority.certificate,
                client_certificate=other.certificate,
                client_key=other.key,
            )
    with grpc_server() as port, pytest.raises(EngineUnreachableError, match="not speak TLS"):
        Client(f"https://127.0.0.1:{port}", **trusted)


@contextmanager
def tls_server(identity: Identity, *, wanting: Path | None = None, **conduct: Any) -> Iterator[int]:
    """Speaks TLS and nothing inside it; ``conduct`` is set on its context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    if wanting is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(wanting)
    for name, value in conduct.items():
        setattr(context, name, value)
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as kept:

        def serve() -> None:
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return
                try:
                    kept.enter_context(context.wrap_socket(connection, server_side=True))
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_tls_that_does_not_agree(server: Identity, authority: Authority) -> None:
    """A name that it does not know, an older version: not plain, and no certificate lacks."""
    for conduct in (
        {"sni_callback": lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME},
        {"sni_callback": lambda *_: ssl.ALERT_DESCRIPTION_PROTOCOL_VERSION},
    ):
        with tls_server(server, **conduct) as port:
            refused(
                "TLS does not come about",
                f"https://127.0.0.1:{port}",
                "refuses the TLS of this machine (tlsv1 ",
                "target_name",
                certificate_authority=authority.certificate,
                target_name="localhost",
            )


def test_a_silent_engine_that_wants_certificates_gets_the_clients(
    server: Identity, authority: Authority
) -> None:
    """That it is silent is told, not that it wants what it has."""
    own = authority.identity("client.submitter")
    endpoint = "https://127.0.0.1:{}".format
    with tls_server(server, wanting=authority.certificate) as port:
        settings = ConnectionSettings(endpoint(port))
        found = probe(settings, authority.certificate.read_bytes(), 5.0)
        assert found.standing is Standing.WANTS_CERTIFICATE
        settings = ConnectionSettings(
            endpoint(port), client_certificate=own.certificate, client_key=own.key
        )
        found = probe(settings, authority.certificate.read_bytes(), 0.5)
        assert found.standing is Standing.SILENT


def test_authorities_may_have_notes_in_any_writing(
    server: Identity, authority: Authority, tmp_path: Path
) -> None:
    noted = "# Beh\xf6rde\n".encode("latin-1") + authority.certificate.read_bytes()
    (tmp_path / "ca.crt").write_bytes(noted)
    settings = ConnectionSettings("https://h:1", certificate_authority=tmp_path / "ca.crt")
    assert load(settings).authorities == noted
    with tls_server(server) as port:
        found = probe(ConnectionSettings(f"https://127.0.0.1:{port}"), noted, 0.5)
        assert found.standing is Standing.SILENT


def test_a_permission_that_is_not_known_is_told_without_a_name() -> None:
    words = explain(Case(Caller(TLS, user="guest"), "PERMISSION_DENIED"))
    assert words is not None
    assert "user 'guest' lacks a permission at https://cluster:5001: " in words


def test_the_servers_certificate(
    tls: Ingress, engine: Up, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    endpoint = f"https://127.0.0.1:{tls.port}"
    row = "the server's certificate has no known authority"
    says = "of 'ingress', signed by 'Test Authority', for 127.0.0.1, localhost, valid from "
    refused(row, endpoint, says, "that are known everywhere", "ARMOFLOW_CERTIFICATE_AUTHORITY")
    other = stranger.certificate
    says = f"none of the authorities that are trusted, those in {other} (certificate_authority=...)"
    refused(row, endpoint, says, certificate_authority=other)
    refused(
        "the server's certificate is for another name",
        endpoint,
        "does not hold the name",
        "target_name",
        certificate_authority=authority.certificate,
        target_name="elsewhere.example",
    )
    expired = authority.identity("ingress", "127.0.0.1", begins=NOW - WEEK, expires=NOW - HOUR)
    with ingress(tmp_path, engine.endpoint, expired) as old:
        refused(
            "the server's certificate is not valid now",
            f"https://127.0.0.1:{old.port}",
            f"to {expired.expires:%Y-%m-%d %H:%M} UTC, is not valid now",
            certificate_authority=authority.certificate,
        )


@task
def double(x: int) -> int:
    return 2 * x


def with_identity(authority: Authority, identity: Identity) -> dict[str, Any]:
    return {
        "certificate_authority": authority.certificate,
        "client_certificate": identity.certificate,
        "client_key": identity.key,
    }


def test_the_clients_certificate(
    mtls: Ingress, authority: Authority, stranger: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = f"https://127.0.0.1:{mtls.port}"
    refused(
        "a client certificate is wanted",
        endpoint,
        "wants a client certificate and got none",
        "client_certificate and client_key, or client_p12",
        certificate_authority=authority.certificate,
    )
    expired = authority.identity("client.submitter", begins=NOW - WEEK, expires=NOW - HOUR)
    refused(
        "the client's certificate has expired",
        endpoint,
        f"of 'client.submitter' expired on {expired.expires:%Y-%m-%d %H:%M} UTC",
        f"{expired.certificate} (client_certificate=...)",
        "live 168 hours",
        **with_identity(authority, expired),
    )
    early = authority.identity("client.submitter", begins=NOW + HOUR, expires=NOW + WEEK)
    refused(
        "the client's certificate is not valid yet",
        endpoint,
        f"is valid from {NOW + HOUR:%Y-%m-%d %H:%M} UTC on",
        **with_identity(authority, early),
    )
    other = stranger.identity("client.submitter")
    refused(
        "the client's certificate is of another authority",
        endpoint,
        "does not accept the client certificate of 'client.submitter', signed by 'Other Authority'",
        **with_identity(authority, other),
    )
    nobodys = authority.identity("somebody")
    refused(
        "the certificate is nobody's",
        endpoint,
        f"no user of {endpoint} has this client certificate: {nobodys.certificate}",
        "of 'somebody'",
        **with_identity(authority, nobodys),
    )
    monkeypatch.setitem(sys.modules, "cryptography", None)
    refused(
        "the client's certificate is not accepted",
        endpoint,
        "pip install 'armoflow[tls]'",
        **with_identity(authority, other),
    )


def test_a_user_is_wanted(
    engine: Up, server: Identity, authority: Authority, tmp_path: Path
) -> None:
    with ingress(tmp_path, engine.endpoint, server, anonymous=False) as started:
        refused(
            "a user is wanted",
            f"https://127.0.0.1:{started.port}",
            "wants to know who calls, and got no client certificate",
            certificate_authority=authority.certificate,
        )


def test_a_permission_lacks(mtls: Ingress, authority: Authority) -> None:
    """At the first call, and at one that is made later."""
    endpoint = f"https://127.0.0.1:{mtls.port}"
    watching = authority.identity("client.monitoring")
    with Client(endpoint, **with_identity(authority, watching)) as client:
        for ask in (lambda: client.put("x"), lambda: client.compute(double(2))):
            with pytest.raises(EngineError) as raised:
                ask()
            assert raised.value.code == "PERMISSION_DENIED"
            assert "lacks the permission Sessions:CreateSession at " in str(raised.value)
            assert "403" in str(raised.value)


def lacking(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was told of permissions; a busy machine may have told of other things, too."""
    told = [record.getMessage() for record in caplog.records]
    return [text for text in told if "lacks the permission" in text]


def test_what_can_be_done_without_is_told_once(
    mtls: Ingress, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Who may not watch asks; versions and sizes of chunks are not needed."""
    blind = authority.identity("client.blind")
    with Client(f"https://127.0.0.1:{mtls.port}", **with_identity(authority, blind)) as client:
        while not lacking(caplog):  # a busy machine may have a value before it hears the refusal
            assert client.compute(double(5)) == 10
        for number in range(3):
            assert client.compute(double(number)) == 2 * number
        (told,) = lacking(caplog)
    assert "lacks the permission Events:GetEvents" in told


def test_an_ingress_without_a_control_plane(
    server: Identity, authority: Authority, tmp_path: Path
) -> None:
    with ingress(tmp_path, "unix:/nonexistent/socket", server) as started:
        refused(
            "the ingress reaches no control plane",
            f"https://127.0.0.1:{started.port}",
            "answers, but the control plane behind it does not",
            timeout=0.3,
            certificate_authority=authority.certificate,
        )


def test_a_proxy_takes_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server() as port:
        monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{port}")
        refused(
            "a proxy took the call",
            "http://cluster.example:5001",
            f"does not answer as an ArmoniK does through the proxy http://127.0.0.1:{port}",
            "(http_proxy)",
            "add cluster.example to the variable no_proxy",
        )


def test_a_proxy_has_no_say_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, engine: Up, tls: Ingress, authority: Authority
) -> None:
    for variable in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    with Client(engine.endpoint) as client:
        assert client.compute(double(2)) == 4
    for host in ("127.0.0.1", "localhost"):
        endpoint = f"https://{host}:{tls.port}"
        with Client(endpoint, certificate_authority=authority.certificate) as client:
            assert client.compute(double(3)) == 6
