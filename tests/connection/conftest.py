"""An engine behind ingresses like ArmoniK's, and the certificates of both sides."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from armoflow.protocol.resolve import VARIABLES
from tests.connection.certificates import Authority, Identity
from tests.connection.nginx import Ingress, ingress
from tests.integration.engines import STOCK, Up


@pytest.fixture(autouse=True)
def _nothing_said_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the shell says of clusters and proxies is not the tests'."""
    proxies = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy")
    for variable in (*VARIABLES, *proxies):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "Other Authority")


@pytest.fixture(scope="session")
def server(authority: Authority) -> Identity:
    return authority.identity("ingress", "127.0.0.1", "localhost")


@pytest.fixture(scope="session")
def submitter(authority: Authority) -> Identity:
    return authority.identity("client.submitter")


@pytest.fixture(scope="session")
def engine(engine_with: Callable[..., Up]) -> Up:
    return engine_with(*STOCK)


@pytest.fixture(scope="session")
def tls(
    engine: Up, server: Identity, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ingress]:
    """An ingress that proves who it is, and asks nobody."""
    with ingress(tmp_path_factory.mktemp("tls"), engine.endpoint, server) as started:
        yield started


@pytest.fixture(scope="session")
def mtls(
    engine: Up, server: Identity, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ingress]:
    """An ingress that lets in who has a certificate of the authority."""
    directory = tmp_path_factory.mktemp("mtls")
    with ingress(directory, engine.endpoint, server, authority.certificate) as started:
        yield started


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port at which nobody listens, nor may anybody else."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
