"""One run of a client over a bad network: a workload with all kinds of calls, checked and timed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from armoflow import Client, Delayed, task
from tests.connection.certificates import Authority
from tests.connection.nginx import ingress
from tests.integration.engines import STOCK, up
from tests.network.link import Weather, link

LARGE = 1_500_000


@task
def square(x: int) -> int:
    return x * x


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def grow(text: bytes, times: int) -> bytes:
    return text * times


@task
def size(data: bytes) -> int:
    return len(data)


@task
def countdown(number: int) -> int | Delayed[int]:
    return number if number == 0 else countdown(number - 1)


class Cluster(NamedTuple):
    """An engine behind an ingress with mTLS.

    Attributes:
        port: Of the ingress.
        options: What a client needs to be let in.
    """

    port: int
    options: dict[str, Any]


@contextmanager
def cluster(directory: Path) -> Iterator[Cluster]:
    """A cluster for the length of a block."""
    authority = Authority(directory)
    server = authority.identity("ingress", "127.0.0.1")
    client = authority.identity("client.submitter")
    options = {
        "certificate_authority": authority.certificate,
        "client_certificate": client.certificate,
        "client_key": client.key,
    }
    with (
        up(directory, *STOCK) as engine,
        ingress(directory, engine.endpoint, server, authority.certificate) as before,
    ):
        yield Cluster(before.port, options)


class Journey(NamedTuple):
    """What a run has come to.

    Attributes:
        seconds: How long it took, from the first call to the end of the session.
        resets: Connections that were reset meanwhile.
        freezes: Connections that fell silent.
    """

    seconds: float
    resets: int
    freezes: int


def travel(
    there: Cluster, weather: Weather, seed: int = 0, *, laps: int = 1, keepalive: float = 30.0
) -> Journey:
    """Run the workload some times over a link; raises if a value is not what it should be."""
    begun = time.monotonic()
    with (
        link(("127.0.0.1", there.port), weather, seed) as between,
        Client(
            f"https://127.0.0.1:{between.port}",
            workers=2,
            keepalive=keepalive,
            connect_timeout=60.0,
            **there.options,
        ) as client,
    ):
        for _ in range(laps):
            check(client)
    return Journey(time.monotonic() - begun, between.resets, between.freezes)


def check(client: Client) -> None:
    """Small values and large ones, up and down, in many tasks and in one, children, futures."""
    assert client.compute(square.map(range(300)).reduce(add)) == sum(x * x for x in range(300))
    data = bytes(range(256)) * (LARGE // 256)
    assert client.compute(size(data)) == len(data)
    assert client.compute(grow(b"0123456789", LARGE // 10)) == b"0123456789" * (LARGE // 10)
    assert client.compute(countdown(5)) == 0
    value = client.put(data)
    futures = [client.submit(size(value)), *client.map(square, range(20))]
    assert client.gather(futures) == [len(data), *(x * x for x in range(20))]
    assert sorted(f.result() for f in client.as_completed(square.map(range(40)))) == [
        x * x for x in range(40)
    ]
