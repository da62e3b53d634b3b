"""What the tests run; apart from them, so that processes of tasks import little else."""

from __future__ import annotations

import time
from typing import Any

from armoflow import task
from tests.integration.gates import pass_gate, ring


@task(batch_size=1, fuse=False)
def double(number: int) -> int:
    return 2 * number


@task
def quick(number: int) -> int:
    return 2 * number


@task
def slow(number: int) -> int:
    time.sleep(0.2)
    return number


@task(batch_size=1, fuse=False)
def add(first: int, second: int) -> int:
    return first + second


@task
def large(size: int) -> bytes:
    return bytes(size)


@task
def length(data: bytes) -> int:
    return len(data)


@task
def broken(number: int) -> int:
    raise ZeroDivisionError(f"item {number}")


@task
def parent(count: int) -> Any:
    """Hands its output to a graph."""
    return double.map(range(count)).reduce(add)


@task
def hand_on(number: int) -> Any:
    """Hands its output to one task."""
    return double(number)


@task
def down(levels: int) -> Any:
    return down(levels - 1) if levels else 0


@task
def sums(depth: int) -> Any:
    return add_up(sums(depth - 1), sums(depth - 1)) if depth else 1


@task
def add_up(first: int, second: int) -> int:
    return first + second


@task(batch_size=1, fuse=False)
def ring_at(gate: str, bell: str, name: str) -> None:
    pass_gate(gate)
    ring(bell, name)
