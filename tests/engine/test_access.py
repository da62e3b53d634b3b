"""Who may call an engine: TLS, users, and what they are permitted."""

from __future__ import annotations

import http.client
import json
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from armonik.protogen.client import auth_service_pb2_grpc
from armonik.protogen.common import auth_common_pb2
from serving import Serving, serve

from armoflow import Client
from armoflow.cli.up import make_parser
from armoflow.engine.access.access_options import AccessOptions
from armoflow.engine.access.authentication import (
    FINGERPRINT,
    Authentication,
    _needed,
    certificate_of,
)
from armoflow.engine.access.tls import ServerTls
from armoflow.engine.access.users import Users
from armoflow.engine.access.users_file import read_users
from armoflow.engine.address import Address
from armoflow.engine.command_line import server_options
from armoflow.engine.records import StateError
from armoflow.engine.server import ServerOptions
from armoflow.engine.web.grpc_web import message_frame
from armoflow.errors import ArmoflowError, OptionError
from armoflow.protocol.permissions import all_permissions, methods
from armoflow.protocol.task_rows import ENDED_METHOD, RUNNING_METHOD
from tests.connection.certificates import NOW, Authority, Identity
from tests.connection.nginx import ingress
from tests.connection.test_over_mtls import compute, shift
from tests.processes import running

PAGE = "https://admin.example"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access")


@pytest.fixture(scope="module")
def authority(files: Path) -> Authority:
    return Authority(files)


@pytest.fixture(scope="module")
def server(authority: Authority) -> Identity:
    return authority.identity("engine", "127.0.0.1")


# --- the file of users ----------------------------------------------------------------------------

NAMES = """
users_list:
- {Username: alice, Roles: [Submitter, Chief]}
- {Username: bob, Roles: [Monitoring]}
- {Username: eve, Roles: [Chief]}
roles_list:
- {RoleName: Chief, Permissions: ["General:Impersonate:Monitoring", "Submitter:CancelTasks"]}
certificates_list:
- {Cn: client.submitter, Username: alice}
- {Cn: client.monitoring, Username: bob, Fingerprint: null}
- {Cn: client.monitoring, Username: eve, Fingerprint: "AB:00000000000000000000000000000000000000"}
"""


def users_of(text: str, directory: Path) -> Users:
    path = directory / "users.yaml"
    path.write_text(text)
    return read_users(path)


def test_the_shipped_users_are_a_deployments() -> None:
    users = read_users()
    assert users.named["submitter"].permissions == all_permissions() - {"Results:WatchResults"}
    looks = users.named["monitoring"].permissions
    assert looks < users.named["submitter"].permissions
    assert all(re.search(":(List|Get|Count|Check)", permission) for permission in looks)
    assert users.of_certificate("client.submitter", "ab") is users.named["submitter"]
    assert users.of_certificate("somebody", "ab") is None


def test_a_deployments_file_in_json_or_yaml(tmp_path: Path) -> None:
    users = users_of(NAMES, tmp_path)
    assert users.named["alice"].roles == ("Submitter", "Chief")
    assert users.named["bob"].permissions == read_users().named["monitoring"].permissions
    exact = users.of_certificate("client.monitoring", "ab" + "0" * 38)
    assert exact is users.named["eve"]  # rather than whose the mere name is
    assert users.of_certificate("client.monitoring", "cd") is users.named["bob"]
    entry = {"Cn": "x", "Username": "u", "Fingerprint": "a" * 40}
    user = {"Username": "u", "Roles": []}
    content = {"users_list": [user], "certificates_list": [entry], "roles_list": []}
    assert users_of(json.dumps(content), tmp_path).of_certificate("x", "a" * 40) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is neither YAML nor JSON"),
        ("[" * 2000, "is neither YAML nor JSON"),
        (
            "users_list: [{Username: a, Roles: []}]\nusers_list: []",
            "is neither YAML nor JSON: 'users_list' is there twice in",
        ),
        (
            "users_list: [{Username: a, Roles: [Monitoring], Roles: [Submitter]}]",
            "is neither YAML nor JSON: 'Roles' is there twice in",
        ),
        ("1: []\na: []", "1 is no list of users: write roles_list"),
        (
            "users_list: [{Username: a, Roles: []}]\ncertificates_list: [{Cn: '', Username: a}]",
            "a certificate of 'a' has no common name: write its Cn",
        ),
        (
            "roles_list: [{RoleName: R, Permissions: ['General:Impersonate:Submiter']}]",
            "role 'R' has the permission 'General:Impersonate:Submiter', which names no role "
            "(is 'Submitter' meant?): write General:Impersonate:ROLE, with one of Monitoring, R",
        ),
        ("nonsense", "has none of the lists roles_list, users_list, certificates_list"),
        ("users: []", "'users' is no list of users: write roles_list"),
        ("users_list: []", "has no users, so nobody could call"),
        ("users_list: [x]", "users_list must be a list of entries with Username, Roles"),
        ("users_list: [{Username: a}]", "must have Username, Roles, and nothing else"),
        ("users_list: [{Username: a, Roles: b}]", "must be a list of names, not 'b'"),
        ("users_list: [{Username: 1, Roles: []}]", "must be text, not 1: put it in quotes"),
        ("users_list: [{Username: '', Roles: []}]", "'' has no name"),
        (
            "users_list: [{Username: a, Roles: []}, {Username: a, Roles: []}]",
            "user 'a' is there twice: leave one of them out",
        ),
        (
            "users_list: [{Username: a, Roles: [Submiter]}]",
            "user 'a' has the unknown role 'Submiter' (is 'Submitter' meant?): add it to "
            "roles_list, or write one of Monitoring, Submitter",
        ),
        (
            "roles_list: [{RoleName: R, Permissions: ['Session:CreateSession']}]",
            "role 'R' has the unknown permission 'Session:CreateSession' (is "
            "'Sessions:CreateSession' meant?): write Service:Method",
        ),
        (
            "users_list: [{Username: a, Roles: []}]\ncertificates_list: [{Cn: c, Username: b}]",
            "the certificate of 'c' is of the unknown user 'b'",
        ),
        (
            "users_list: [{Username: a, Roles: []}]\n"
            "certificates_list: [{Cn: c, Username: a, Fingerprint: 'abc'}]",
            "the fingerprint 'abc' of 'c' is no SHA-1",
        ),
        (
            "users_list: [{Username: a, Roles: []}, {Username: b, Roles: []}]\n"
            "certificates_list: [{Cn: c, Username: a}, {Cn: c, Username: b}]",
            "the certificate of 'c' is of two users, 'a' and 'b'",
        ),
    ],
)
def test_a_bad_file_of_users_is_explained(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        users_of(text, tmp_path)
    assert str(caught.value).startswith(f"--users {tmp_path}/users.yaml")


# --- the command line -----------------------------------------------------------------------------


def options(tmp_path: Path, *arguments: object, listen: str = "0.0.0.0:5001") -> ServerOptions:
    state = ("--state", str(tmp_path / "state"))
    given = ("--listen", listen, *state, *map(str, arguments))
    return server_options(make_parser().parse_args(given))


def test_strangers_reach_nothing_without_tls(
    tmp_path: Path, server: Identity, authority: Authority
) -> None:
    tls = ("--tls-cert", server.certificate, "--tls-key", server.key)
    known = (*tls, "--client-ca", authority.certificate)
    with pytest.raises(OptionError, match=r"refusing to listen at 0.0.0.0:5001 \(--listen"):
        options(tmp_path)
    with pytest.raises(OptionError, match=r"certificate of yours: --client-ca; or.*--trust-net"):
        options(tmp_path, *tls)
    with pytest.raises(OptionError, match=r"refusing to listen at 0.0.0.0:1 \(--web"):
        options(tmp_path, "--web", "0.0.0.0:1", listen="127.0.0.1:0")
    assert options(tmp_path, "--trust-network").address.url == "http://0.0.0.0:5001"
    assert options(tmp_path, *known, "--web", "0.0.0.0:1").web == Address("", "0.0.0.0", 1, True)
    assert options(tmp_path, *known, listen="https://[::]:1").address.url == "https://[::]:1"
    assert options(tmp_path, *tls, listen="127.0.0.1:1").address.url == "https://127.0.0.1:1"
    ours = options(tmp_path, *known, "--web", "127.0.0.1:1", "--users", listen="unix:/tmp/x")
    assert (ours.address.url, ours.web and ours.web.url) == ("unix:/tmp/x", "https://127.0.0.1:1")


def test_bad_files_and_options_are_explained(
    tmp_path: Path, server: Identity, authority: Authority
) -> None:
    late = authority.identity("late", "127.0.0.1", expires=NOW - timedelta(minutes=5))
    early = authority.identity("early", "127.0.0.1", begins=NOW + timedelta(days=1))
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    bare = ("--tls-cert", server.certificate)
    pair = (*bare, "--tls-key", server.key)
    cases: list[tuple[tuple[object, ...], str]] = [
        (("--tls-key", server.key), f"--tls-key {server.key} is for TLS: give --tls-cert, too"),
        (("--client-ca", junk), f"--client-ca {junk} is for TLS"),
        (bare, f"there is no private key in {server.certificate}: name the file of the key"),
        ((*bare, "--tls-key", "/nope"), "--tls-key /nope cannot be read: no such file"),
        (("--tls-cert", tmp_path), f"--tls-cert {tmp_path} cannot be read: is a directory"),
        ((*bare, "--tls-key", late.key), f"--tls-cert {server.certificate} and its key do not fit"),
        (("--tls-cert", late.certificate, "--tls-key", late.key), "of 'late' expired on"),
        (("--tls-cert", early.certificate, "--tls-key", early.key), "'early' is valid from"),
        ((*pair, "--client-ca", junk), f"--client-ca {junk} holds no certificates in PEM"),
        ((*pair, "--client-ca", late.certificate), "of 'late' expired on"),
        ((*pair, "--users"), "--users are known by their certificates: give --tls-cert"),
        (("--users", "--web", "127.0.0.1:1"), "--users are known by their certificates"),
        ((*pair, "--client-ca", authority.certificate, "--users", "/nope"), "/nope cannot be read"),
    ]
    for arguments, message in cases:
        with pytest.raises(OptionError, match=re.escape(message)):
            options(tmp_path, *arguments)
    with pytest.raises(OptionError, match=r"a Unix socket \(unix:/tmp/x\) is open to this user"):
        options(tmp_path, *pair, listen="unix:/tmp/x")
    with pytest.raises(OptionError, match=r"https://127.0.0.1:1 is TLS: give"):
        options(tmp_path, listen="https://127.0.0.1:1")
    assert not (tmp_path / "state").exists()


def test_a_dashboard_would_be_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from armoflow.cli.main import main

    assert main(["up", "--state", str(tmp_path), "--dashboard", "--tls-cert", "x"]) == 2
    assert "Run `armoflow dashboard --endpoint https://...`" in capsys.readouterr().err


# --- an engine over TLS ---------------------------------------------------------------------------


@dataclass
class Secured:
    """An engine that knows its clients, and what these go by."""

    serving: Serving
    authority: Authority
    identities: dict[str, Identity]

    @property
    def url(self) -> str:
        return self.serving.server.address.url

    def channel(self, name: str) -> grpc.Channel:
        identity = self.identities[name]
        credentials = grpc.ssl_channel_credentials(
            self.authority.certificate.read_bytes(),
            identity.key.read_bytes(),
            identity.certificate.read_bytes(),
        )
        return grpc.secure_channel(self.serving.target, credentials)

    def client(self, name: str = "", **options: Any) -> Client:
        if name:
            options["client_certificate"] = self.identities[name].certificate
            options["client_key"] = self.identities[name].key
        trusted = self.authority.certificate
        return Client(self.url, certificate_authority=trusted, timeout=20, **options)


@pytest.fixture(scope="module")
def secured(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, server: Identity, files: Path
) -> Iterator[Secured]:
    def known(name: str, **dates: Any) -> Identity:
        return authority.identity(name, **dates)

    identities = {
        "submitter": known("client.submitter"),
        "monitoring": known("client.monitoring"),
        "nobody": known("client.nobody"),
        "expired": known("client.submitter", expires=NOW - timedelta(minutes=5)),
        "foreign": Authority(tmp_path_factory.mktemp("other"), "Other").identity(
            "client.submitter"
        ),
    }
    tls = ServerTls(server.certificate, server.key, authority.certificate)
    access = AccessOptions(tls, users_of(NAMES, files))
    where = Address(host="127.0.0.1", secure=True)
    state = tmp_path_factory.mktemp("state")
    with serve(
        state, address=where, access=access, web=where, web_origins=(PAGE,), workers=1
    ) as serving:
        yield Secured(serving, authority, identities)


@pytest.mark.parametrize("extensions", [True, False])
def test_a_flow_over_mtls(secured: Secured, extensions: bool) -> None:
    with secured.client("submitter", extensions=extensions) as client:
        assert compute(client) == "bcdefg"
        assert ("batch" in client.extensions) is extensions


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "wants a client certificate and got none"),
        ("expired", "the client certificate of 'client.submitter' expired on"),
        ("foreign", "does not accept the client certificate of 'client.submitter', signed by"),
        ("nobody", "has this client certificate"),
        ("monitoring", "user 'bob' lacks the permission Sessions:CreateSession"),
    ],
)
def test_refusals_are_explained(secured: Secured, name: str, words: str) -> None:
    with pytest.raises(ArmoflowError, match=re.escape(words)), secured.client(name) as client:
        client.compute(shift("a", by=1))


def answer(channel: grpc.Channel, method: str, **metadata: str) -> tuple[str, str]:
    """How a call with an empty request ends, of whatever kind it is."""
    headers = [(name.replace("_", "-"), value) for name, value in metadata.items()]
    call = channel.stream_stream(method)(iter([b""]), metadata=headers, timeout=20)
    with suppress(grpc.RpcError):
        next(call, None)
    call.cancel()
    return call.code().name, call.details() or ""


@pytest.mark.parametrize("name", ["submitter", "monitoring"])
def test_each_role_may_what_it_permits_and_no_more(secured: Secured, name: str) -> None:
    permitted = read_users().named[name].permissions
    with secured.channel(name) as channel:
        for method, permission in methods():
            if permission in ("Events:GetEvents", "Results:WatchResults"):
                continue  # they end when they are told to
            path = f"/{method.containing_service.full_name}/{method.name}"
            code, text = answer(channel, path)
            if permission in permitted or permission.startswith("Authentication"):
                assert code not in ("PERMISSION_DENIED", "UNAUTHENTICATED"), permission
            else:
                assert code == "PERMISSION_DENIED"
                assert text == f"user 'bob' lacks the permission {permission}"
        stream, text = answer(channel, "/armoflow.Extension/Nothing")
        assert stream == "UNIMPLEMENTED", text


def current_user(channel: grpc.Channel, **metadata: str) -> Any:
    stub = auth_service_pb2_grpc.AuthenticationStub(channel)
    headers = [(name.replace("_", "-"), value) for name, value in metadata.items()]
    request = auth_common_pb2.GetCurrentUserRequest()
    return stub.GetCurrentUser(request, metadata=headers, timeout=20).user


def test_the_current_user_and_who_it_may_be(secured: Secured) -> None:
    with secured.channel("submitter") as channel:
        user = current_user(channel)
        assert (user.username, list(user.roles)) == ("alice", ["Submitter", "Chief"])
        assert {"Sessions:CreateSession", "General:Impersonate:Monitoring"} < {*user.permissions}
        other = current_user(channel, x_impersonate_username="bob")
        assert (other.username, list(other.roles)) == ("bob", ["Monitoring"])
        create = "/armonik.api.grpc.v1.sessions.Sessions/CreateSession"
        code, text = answer(channel, create, x_impersonate_id="bob")
        assert (code, text) == (
            "PERMISSION_DENIED",
            "user 'bob' lacks the permission Sessions:CreateSession",
        )
        refused = answer(channel, create, x_impersonate_username="eve")
        assert refused[0] == "UNAUTHENTICATED"
        assert "lacks the permission General:Impersonate:Chief" in refused[1]
        assert answer(channel, create, x_impersonate_username="x")[0] == "UNAUTHENTICATED"
    with secured.channel("monitoring") as channel:
        told = {"x_certificate_client_cn": "client.submitter", FINGERPRINT: "0" * 40}
        assert current_user(channel, **told).username == "bob"  # by the connection, not by words


def test_the_batch_stream_is_for_those_who_may_all_that_it_does(secured: Secured) -> None:
    with secured.channel("monitoring") as channel:
        code, text = answer(channel, "/armoflow.Extension/Connect")
        assert code == "PERMISSION_DENIED"
        assert "lacks the permission Results:CreateResults" in text
        # What only looks is served; what nobody knows of would take the most that there is.
        for method in (ENDED_METHOD, RUNNING_METHOD):
            assert answer(channel, method)[0] != "PERMISSION_DENIED"
        assert _needed("Extension/Whatever") == _needed("Extension/Connect")


# --- browsers -------------------------------------------------------------------------------------


def post(
    secured: Secured, name: str, method: str, *, verb: str = "POST", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """A call over gRPC-Web."""
    assert secured.serving.server.web is not None
    url = secured.serving.server.web.url
    context = ssl.create_default_context(cafile=str(secured.authority.certificate))
    if name:
        identity = secured.identities[name]
        context.load_cert_chain(identity.certificate, identity.key)
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    given["content-type"] = "application/grpc-web"
    place = url.removeprefix("https://")
    with closing(http.client.HTTPSConnection(place, timeout=60, context=context)) as connection:
        path = f"/armonik.api.grpc.v1.{method}"
        connection.request(verb, path, message_frame(b""), {"origin": PAGE, **given})
        reply = connection.getresponse()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()


def test_a_browser_is_known_by_its_certificate(secured: Secured) -> None:
    versions, create = "versions.Versions/ListVersions", "sessions.Sessions/CreateSession"
    # It asks without one whether it may.
    status, headers, _ = post(secured, "", versions, verb="OPTIONS")
    assert (status, headers["access-control-allow-credentials"]) == (204, "true")
    assert post(secured, "", versions)[0] == 400
    assert b"grpc-status: 0" in post(secured, "monitoring", versions)[2]
    for told in ({}, {"x_certificate_client_cn": "client.submitter", FINGERPRINT: "0" * 40}):
        status, headers, body = post(secured, "monitoring", create, **told)
        assert (status, headers["access-control-allow-origin"]) == (200, PAGE)
        assert b"grpc-status: 7" in body
        assert b"user 'bob' lacks the permission Sessions:CreateSession" in body
    assert b"grpc-status: 16" in post(secured, "nobody", versions)[2]
    with pytest.raises(OSError):  # an alert, or an end: whichever is read first
        post(secured, "foreign", versions)
    assert post(secured, "monitoring", versions, origin="https://evil.example")[0] == 403


# --- behind an ingress ----------------------------------------------------------------------------


def test_an_ingress_says_whose_certificate_it_has_seen(
    tmp_path: Path, authority: Authority, server: Identity, secured: Secured
) -> None:
    access = AccessOptions(users=read_users())
    with (
        serve(tmp_path / "state", access=access) as serving,
        ingress(tmp_path, serving.server.address.url, server, authority.certificate) as before,
    ):
        assert answer(serving.channel, "/armonik.api.grpc.v1.versions.Versions/ListVersions") == (
            "UNAUTHENTICATED",
            "this engine knows its users by their client certificates, and none was shown",
        )
        assert not Path(serving.server.address.stream_path).exists()
        files = secured.identities["monitoring"]
        with (
            pytest.raises(ArmoflowError, match="user 'monitoring' lacks the permission Sess"),
            Client(
                f"https://127.0.0.1:{before.port}",
                certificate_authority=authority.certificate,
                client_certificate=files.certificate,
                client_key=files.key,
                timeout=20,
            ) as client,
        ):
            client.compute(shift("a", by=1))


def test_the_file_of_users_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def file(*names: str) -> str:
        entries = [f"{{Username: {name}, Roles: [Monitoring]}}" for name in names]
        certificates = [f"{{Cn: {name}, Username: {name}}}" for name in names]
        return f"users_list: [{', '.join(entries)}]\ncertificates_list: [{', '.join(certificates)}]"

    path = tmp_path / "users.yaml"
    access = AccessOptions(users=users_of(file("alice", "bob"), tmp_path), users_file=path)
    with serve(tmp_path / "state", access=access) as serving:

        def may_call() -> set[str]:
            method = "/armonik.api.grpc.v1.sessions.Sessions/ListSessions"
            headers = [{"x_certificate_client_cn": name} for name in ("alice", "bob", "carol")]
            return {
                each["x_certificate_client_cn"]
                for each in headers
                if answer(serving.channel, method, x_certificate_client_fingerprint="ab", **each)[0]
                != "UNAUTHENTICATED"
            }

        assert may_call() == {"alice", "bob"}
        caplog.set_level("INFO")
        path.write_text(file("alice", "carol"))
        serving.server.reload_users()
        assert may_call() == {"alice", "carol"}
        assert "was read again: added: 'carol'; removed: 'bob'; known now: the" in caplog.text
        path.write_text("users_list: [{Username: alice, Roles: [Chief]}]")
        serving.server.reload_users()
        assert may_call() == {"alice", "carol"}
        assert "who may call stays as it was: --users" in caplog.text
        assert "user 'alice' has the unknown role 'Chief'" in caplog.text


def test_a_hangup_reads_the_file_of_users_again_and_ends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.write_text("users_list: [{Username: alice, Roles: []}]")
    command = [sys.executable, "-m", "armoflow", "up", "--workers", "0", "--users", str(path)]
    command += ["--listen", f"unix:{tmp_path}/s", "--state", str(tmp_path / "state")]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith("ready: ")
        path.write_text("users_list: [{Username: bob, Roles: []}]")
        process.send_signal(signal.SIGHUP)
        said = next(line for line in process.stderr if "--users" in line)
        assert "was read again: added: 'bob'; removed: 'alice'" in said
        process.terminate()
        assert process.wait(20) == 0


def test_fingerprints_are_openssls(authority: Authority) -> None:
    identity = authority.identity("x")
    printed = subprocess.run(
        ["openssl", "x509", "-in", identity.certificate, "-noout", "-fingerprint", "-sha1"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    connection = {
        "transport_security_type": [b"ssl"],
        "x509_common_name": [b"x"],
        "x509_pem_cert": [identity.certificate.read_bytes()],
    }
    found = certificate_of(connection, {}).fingerprint
    assert found == printed.rpartition("=")[2].strip().replace(":", "").lower()
    assert certificate_of({"transport_security_type": [b"ssl"]}, {FINGERPRINT: found}) == ("", "")


def test_without_users_everybody_may_everything() -> None:
    authentication = Authentication()
    user = authentication.user_of(None)
    assert (user.name, user.roles, user.permissions) == ("Anonymous", (), all_permissions())
    authentication.check("Sessions/CreateSession", None)
    with pytest.raises(StateError):
        Authentication(read_users()).check("Sessions/CreateSession", _Nobody())


class _Nobody:
    """The context of a call without anything."""

    def invocation_metadata(self) -> None:
        return None

    def auth_context(self) -> dict[str, Any]:
        return {}
