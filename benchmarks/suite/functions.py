"""What the tasks of the benchmarks run.

Plain functions in a module of their own, so that every system can import or pickle them.
Light on purpose: the start-up benchmark imports this module, and numpy only where a task needs it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

MODULUS = 1_000_003


def identity(value: Any) -> Any:
    """The no-op: what costs time is the system around it."""
    return value


def increment(value: int) -> int:
    return value + 1


def square(value: int) -> int:
    return value * value


def add(left: Any, right: Any) -> Any:
    return left + right


def total(*values: int) -> int:
    return sum(values)


def make_array(number: int, elements: int) -> numpy.ndarray:
    import numpy

    return numpy.full(elements, float(number))


def sum_array(array: numpy.ndarray) -> float:
    return float(array.sum())


def sum_part(array: numpy.ndarray, part: int, parts: int) -> float:
    """Sum of the ``part``-th of ``parts`` equal slices."""
    size = len(array) // parts
    return float(array[part * size : (part + 1) * size].sum())


def hold(pipes: tuple[str, str]) -> int:
    """Keep a worker busy: say so on one named pipe, then wait for a byte from the other one."""
    started, release = pipes
    with open(started, "w") as pipe:  # noqa: PTH123 - a named pipe, not a file
        pipe.write("started")
    descriptor = os.open(release, os.O_RDONLY)
    try:
        return len(os.read(descriptor, 1))
    finally:
        os.close(descriptor)


def spin(iterations: int) -> float:
    """A compute-bound loop: its time is proportional to ``iterations``."""
    value = 1.0
    for _ in range(iterations):
        value = value * 0.999999 + 0.000001
    return value


def grid_task(iterations: int, step: int, column: int, *values: int) -> int:
    """One task of a Task Bench graph: the kernel, then a value that depends on every input."""
    spin(iterations)
    return grid_value(step, column, values)


def grid_value(step: int, column: int, inputs: tuple[int, ...]) -> int:
    """What ``grid_task`` returns; a swapped, lost or stale input changes it."""
    value = step * 1009 + column * 31 + 7
    for position, item in enumerate(inputs, start=1):
        value = (value * 131 + item * position) % MODULUS
    return value
