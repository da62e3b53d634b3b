"""What works on an engine works on one behind an ingress that wants client certificates."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from armoflow import Client, task
from tests.connection.certificates import Authority, Identity
from tests.connection.nginx import Ingress, ingress
from tests.examples.test_examples import run, small


@task
def shift(text: str, by: int) -> str:
    return "".join(chr(ord(letter) + by) for letter in text)


@task
def join(left: str, right: str) -> str:
    return left + right


@pytest.fixture
def endpoint(mtls: Ingress) -> str:
    return f"https://127.0.0.1:{mtls.port}"


def compute(client: Client) -> Any:
    return client.compute(shift.map(["ab", "cd", "ef"], by=1).reduce(join))


def test_pem_and_pkcs12(
    endpoint: str, authority: Authority, submitter: Identity, mtls: Ingress
) -> None:
    trusted = authority.certificate
    identities: Sequence[dict[str, Any]] = [
        {"client_certificate": submitter.certificate, "client_key": submitter.key},
        {"client_p12": submitter.as_p12()},
        {"client_p12": submitter.as_p12(b"secret"), "client_p12_password": "secret"},
    ]
    for identity in identities:
        with Client(endpoint, certificate_authority=trusted, **identity) as client:
            assert compute(client) == "bcdefg"
            assert client.extensions == frozenset()  # an ingress passes ArmoniK's calls only
    assert "/armonik.api.grpc.v1.tasks.Tasks/SubmitTasks" in [path for _, path in mtls.called()]


def test_one_file_with_certificate_and_key(
    endpoint: str, authority: Authority, submitter: Identity, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(submitter.certificate.read_bytes() + submitter.key.read_bytes())
    with Client(
        endpoint, certificate_authority=authority.certificate, client_certificate=both
    ) as client:
        assert compute(client) == "bcdefg"


def test_the_file_that_a_deployment_writes(
    endpoint: str,
    authority: Authority,
    submitter: Identity,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "armonik-cli.yaml"
    file.write_text(
        f"endpoint: {endpoint}\ncertificate_authority: {authority.certificate}\n"
        f"client_certificate: {submitter.certificate}\nclient_key: {submitter.key}\n"
    )
    monkeypatch.setenv("AKCONFIG", str(file))
    with Client() as client:
        assert compute(client) == "bcdefg"
    assert f"armoflow: the engine is {endpoint} (AKCONFIG, {file})\n" in capfd.readouterr().err


def test_another_name_of_the_server(
    mtls: Ingress, authority: Authority, submitter: Identity, engine: Any, tmp_path: Path
) -> None:
    server = authority.identity("ingress", "armonik.example")
    with ingress(tmp_path, engine.endpoint, server) as started:
        endpoint = f"https://127.0.0.1:{started.port}"
        trusted = authority.certificate
        with Client(
            endpoint, certificate_authority=trusted, target_name="armonik.example"
        ) as client:
            assert compute(client) == "bcdefg"


@contextmanager
def recorder(path: Path) -> Iterator[list[dict[str, str]]]:
    """An engine's socket that keeps the headers of calls, and refuses them."""
    seen: list[dict[str, str]] = []

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> None:
            seen.append({key: str(value) for key, value in details.invocation_metadata})

    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Handler()])
    server.add_insecure_port(f"unix:{path}")
    server.start()
    try:
        yield seen
    finally:
        server.stop(None).wait()


def test_the_control_plane_learns_who_calls(
    authority: Authority, server: Identity, submitter: Identity, tmp_path: Path
) -> None:
    """By the two header lines that ArmoniK's ingress sets."""
    with (
        recorder(tmp_path / "s") as seen,
        ingress(tmp_path, f"unix:{tmp_path}/s", server, authority.certificate) as started,
        pytest.raises(Exception, match="is not an ArmoniK"),
    ):
        Client(
            f"https://127.0.0.1:{started.port}",
            certificate_authority=authority.certificate,
            client_certificate=submitter.certificate,
            client_key=submitter.key,
        )
    fingerprint = subprocess.run(
        ["openssl", "x509", "-in", submitter.certificate, "-noout", "-fingerprint", "-sha1"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.rpartition("=")[2]
    assert seen[0]["x-certificate-client-cn"] == "client.submitter"
    told = seen[0]["x-certificate-client-fingerprint"]
    assert told == fingerprint.strip().replace(":", "").lower()


@pytest.mark.parametrize("example", ["environments", "mandelbrot", "word_count"])
def test_an_example_over_mtls(
    example: str, tmp_path: Path, endpoint: str, authority: Authority, submitter: Identity
) -> None:
    arguments = small(example, tmp_path)
    printed = run(
        example,
        *arguments,
        ARMOFLOW_ENDPOINT=endpoint,
        ARMOFLOW_CERTIFICATE_AUTHORITY=str(authority.certificate),
        ARMOFLOW_CLIENT_P12=str(submitter.as_p12()),
    )
    assert printed == run(example, *arguments, "--local")


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_messages(
    endpoint: str, authority: Authority, submitter: Identity, compression: Any, mtls: Ingress
) -> None:
    with Client(
        endpoint,
        certificate_authority=authority.certificate,
        client_certificate=submitter.certificate,
        client_key=submitter.key,
        compression=compression,
        payloads="inline",
    ) as client:
        before = len(mtls.called())
        assert len(client.compute(shift("a" * 200_000, by=1))) == 200_000
    sizes = [
        size for size, path in mtls.called()[before:] if path.endswith("Results/CreateResults")
    ]
    assert sizes
    assert max(sizes) < 20_000


def test_on_this_machine_too(engine: Any) -> None:
    """Options of the connection that are not of TLS hold everywhere."""
    with Client(engine.endpoint, keepalive=60, compression="gzip") as client:
        assert compute(client) == "bcdefg"


def test_the_demo_runs_here_whatever_the_shell_says() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    recipe = makefile.partition("\ndemo:")[2].partition("\n\n")[0]
    command = recipe.partition("@")[2].partition("$(BIN)")[0].split()
    script = "import os; print([name for name in os.environ if name.startswith(('AK', 'ARMOFL'))])"
    said = {"ARMOFLOW_ENDPOINT": "x", "AK_ENDPOINT": "y", "AKCONFIG": "z", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*command, sys.executable, "-c", script],
        env=said,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
