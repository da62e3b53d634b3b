"""Calls of which every second one fails, in a module that a worker loads quickly."""

from __future__ import annotations

import os
from typing import Any

from armoflow import task

ODD = "an odd number"

BALLAST = os.urandom(30_000)
"""So much of a function that its code is a result of its own."""

LARGE = bytes(100_000)
"""An argument that is a result of its own where several calls share it."""


@task
def table(size: int) -> bytes:
    return bytes(size)


@task
def even(table: bytes, large: bytes, number: int) -> int:
    if number % 2 and BALLAST:
        raise ValueError(ODD)
    return number


@task
def add(*numbers: int) -> int:
    return sum(numbers)


@task
def outer(table: bytes, large: bytes, number: int) -> Any:
    return add(*[even(table, large, number + each) for each in range(3)])


@task(batch_size=4)
def item(number: int, *, table: bytes, large: bytes) -> int:
    return even.function(table, large, number)
