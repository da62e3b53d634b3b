"""Where the engine is, and how it is reached: what says it, and what wins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client
from armoflow.errors import OptionError
from armoflow.protocol.resolve import resolve
from armoflow.protocol.settings import ConnectionSettings
from tests.connection.certificates import Authority, Identity
from tests.integration.engines import Up

SAID = {
    "ARMOFLOW_ENDPOINT": "https://first:1",
    "AK_ENDPOINT": "https://second:2",
}


def write(path: Path, text: str) -> dict[str, str]:
    path.write_text(text)
    return {"AKCONFIG": str(path)}


def origins(settings: ConnectionSettings) -> dict[str, str]:
    return {name: str(origin) for name, origin in settings.origins.items()}


def test_the_endpoint_is_the_first_ones(tmp_path: Path) -> None:
    file = write(tmp_path / "armonik-cli.yaml", "endpoint: https://third:3\n")
    everything = {**SAID, **file}
    assert resolve("https://argument:0", {}, everything).endpoint == "https://argument:0"
    found = []
    for variable in ("ARMOFLOW_ENDPOINT", "AK_ENDPOINT", "AKCONFIG"):
        settings = resolve(None, {}, everything)
        found.append((settings.endpoint, origins(settings)["endpoint"]))
        del everything[variable]
    assert found == [
        ("https://first:1", "ARMOFLOW_ENDPOINT"),
        ("https://second:2", "AK_ENDPOINT"),
        ("https://third:3", f"AKCONFIG, {tmp_path}/armonik-cli.yaml"),
    ]
    assert resolve(None, {}, everything) == ConnectionSettings()


def test_each_value_is_taken_from_where_it_is_said_first(tmp_path: Path) -> None:
    file = write(
        tmp_path / "armonik-cli.yaml",
        "endpoint: https://host:5001\ncertificate_authority: /etc/ca.crt\n"
        "client_certificate: client.crt\nclient_key: client.key\nother: ignored\n",
    )
    environment = {**file, "ARMOFLOW_CLIENT_KEY": "/run/own.key", "ARMOFLOW_KEEPALIVE": "15"}
    settings = resolve(None, {"certificate_authority": "~/ca.crt"}, environment)
    assert settings.certificate_authority == Path.home() / "ca.crt"
    assert settings.client_certificate == tmp_path / "client.crt"
    assert settings.client_key == Path("/run/own.key")
    assert settings.keepalive == 15.0
    assert origins(settings) == {
        "endpoint": f"AKCONFIG, {tmp_path}/armonik-cli.yaml",
        "certificate_authority": "certificate_authority=...",
        "client_certificate": f"AKCONFIG, {tmp_path}/armonik-cli.yaml",
        "client_key": "ARMOFLOW_CLIENT_KEY",
        "keepalive": "ARMOFLOW_KEEPALIVE",
    }


@pytest.mark.parametrize(
    "text", ["", "endpoint:\n", "endpoint: ''\nclient_key: null\n", "client_certificate:\n"]
)
def test_keys_of_the_file_may_be_empty_or_missing(tmp_path: Path, text: str) -> None:
    file = write(tmp_path / "file.yaml", text)
    assert resolve(None, {}, file) == ConnectionSettings()
    assert resolve("https://host:1", {}, file).identified is False


def test_the_forms_of_a_certificate_hide_each_other(tmp_path: Path) -> None:
    pem = "client_certificate: /c.crt\nclient_key: /c.key\n"
    file = write(tmp_path / "pem.yaml", "endpoint: https://host:1\n" + pem)
    settings = resolve(None, {"client_p12": "/c.p12"}, file)
    assert (settings.client_p12, settings.client_certificate) == (Path("/c.p12"), None)
    assert settings.client_key is None
    environment = {"ARMOFLOW_CLIENT_P12": "/c.p12", "ARMOFLOW_CLIENT_P12_PASSWORD": "secret"}
    settings = resolve("https://host:1", {"client_certificate": "/c.pem"}, environment)
    assert (settings.client_p12, settings.client_certificate) == (None, Path("/c.pem"))
    assert "secret" not in repr(resolve("https://host:1", {}, environment))
    with pytest.raises(OptionError, match="given twice"):
        resolve("https://host:1", {"client_p12": "/c.p12", "client_certificate": "/c.crt"}, {})


def test_an_argument_that_is_none_says_nothing() -> None:
    with Client(local=True, client_key=None, keepalive=None) as client:
        assert client.extensions == frozenset()


def test_without_tls_what_variables_and_file_say_of_it_is_not_used(tmp_path: Path) -> None:
    environment = {"AKCONFIG": str(tmp_path / "none.yaml"), "ARMOFLOW_CLIENT_KEY": "/k"}
    for endpoint in ("http://127.0.0.1:5001", "unix:/run/s", "127.0.0.1:5001"):
        assert set(resolve(endpoint, {}, environment).origins) == {"endpoint"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"client_key": "/k"}, "client_key is for an engine at an endpoint, and there is none"),
        (
            {"endpoint": "http://host:1", "certificate_authority": "/ca"},
            "certificate_authority is for TLS, .* 'http://host:1' asks for none: write https://",
        ),
        ({"endpoint": "https://h:1", "client_key": "/k"}, "client_key is given .* but no client_c"),
        ({"endpoint": "https://h:1", "client_p12": 4}, "client_p12 must be the path of a file"),
        ({"endpoint": "https://h:1", "keepalive": 0}, "keepalive must be a positive number"),
        ({"endpoint": "https://h:1", "keepalive": True}, "keepalive must be a positive number"),
        ({"endpoint": "https://h:1", "compression": "zip"}, "compression must be 'none', 'gzip'"),
        ({"endpoint": "https://h:1", "target_name": 1}, "target_name must be text, not 1"),
        (
            {"endpoint": "https://h:1", "client_p12_password": 1234},
            "client_p12_password must be text, not what it is",
        ),
        (
            {"local": True, "client_p12_password": "secret"},
            "local=True .* leave out client_p12_password, or local",
        ),
        ({"cafile": "/ca"}, "unknown argument 'cafile': write certificate_authority="),
        (
            {"endpoint": "https://h:1", "certificate_authority": "/nowhere/ca.crt"},
            r"certificate_authority /nowhere/ca.crt \(certificate_authority=...\) cannot be read: "
            "no such file",
        ),
    ],
)
def test_what_cannot_be_used_is_named(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        Client(**arguments)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read: no such file or directory; mend it, or unset AKCONFIG"),
        ("{endpoint", "is not YAML: .*; mend it"),
        ("- endpoint", "holds no keys such as 'endpoint: https://host:5001'"),
        ("endpoint: 5001", r"endpoint \(AKCONFIG, .*file.yaml\) must be text, not 5001"),
        ("keepalive: never", r"keepalive \(AKCONFIG, .*\) must be a positive number"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, text: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.yaml"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("AKCONFIG", str(path))
    with pytest.raises(OptionError, match=says):
        Client()


def test_certificates_that_cannot_be_used_are_named(
    tmp_path: Path, authority: Authority, submitter: Identity
) -> None:
    other = authority.identity("client.other")
    (tmp_path / "text").write_text("no certificate")
    protected = tmp_path / "protected.key"
    subprocess.run(
        ["openssl", "pkey", "-in", submitter.key, "-aes256", "-passout", "pass:x"],
        stdout=protected.open("wb"),
        check=True,
    )
    certificate, key = submitter.certificate, submitter.key
    p12 = submitter.as_p12(b"secret")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"certificate_authority": tmp_path / "text"}, "holds no certificates in PEM"),
        ({"client_certificate": certificate, "client_key": other.key}, "do not fit together"),
        ({"client_certificate": key, "client_key": key}, "or are not PEM"),
        ({"client_certificate": certificate}, "there is no private key in .*client_key"),
        (
            {"client_certificate": certificate, "client_key": protected},
            "protected.key is protected by a password: write it without",
        ),
        ({"client_p12": p12}, "its password .* is another one, or it is no PKCS#12 file"),
        ({"client_p12": tmp_path / "text"}, "or it is no PKCS#12 file"),
    ]
    for options, says in wrong:
        with pytest.raises(OptionError, match=says):
            Client("https://127.0.0.1:1", **options)


SCRIPT = """
from armoflow import Client, task

@task
def double(x: int) -> int:
    return 2 * x

for _ in range(2):
    with Client({arguments}) as client:
        print(client.compute(double(21)))
"""


def run(environment: dict[str, str], arguments: str = "workers=1") -> tuple[str, str]:
    """What a script prints, and what it says on the standard error."""
    import os

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(arguments=arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_where_it_connected_without_being_told_in_the_script_is_said_once(
    tmp_path: Path, engine: Up
) -> None:
    file = write(tmp_path / "armonik-cli.yaml", f"endpoint: {engine.endpoint}\n")
    for environment, origin in [
        ({"ARMOFLOW_ENDPOINT": engine.endpoint}, "ARMOFLOW_ENDPOINT"),
        ({"AK_ENDPOINT": engine.endpoint}, "AK_ENDPOINT"),
        (file, f"AKCONFIG, {tmp_path}/armonik-cli.yaml"),
    ]:
        said = f"armoflow: the engine is {engine.endpoint} ({origin})\n"
        assert run(environment) == ("42\n42\n", said)
    assert run(file, f"{engine.endpoint!r}, workers=1") == ("42\n42\n", "")
    (tmp_path / "armonik-cli.yaml").write_text("endpoint:\n")
    said = f"armoflow: AKCONFIG ({tmp_path}/armonik-cli.yaml) names no endpoint: running here\n"
    assert run(file) == ("42\n42\n", said)
