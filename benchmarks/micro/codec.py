"""Microseconds of CPU time per operation of the codec (medians).

Run: ``python -m benchmarks.micro.codec [part of a name ...]``
"""

from __future__ import annotations

import functools
import pickle
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from armoflow.codec.container import pack, unpack
from armoflow.codec.envelope import Slot, SlotKind, pack_envelope, unpack_cells, unpack_envelope
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.functions import CodeCache, ModuleBundle, encode_function
from armoflow.codec.payload import (
    CodeReference,
    InputSlots,
    Operation,
    Payload,
    Pickled,
    PickledItems,
    Settings,
    Values,
)
from armoflow.codec.payload_layout import pack_payload, unpack_payload
from armoflow.codec.pickling import are_scalars, dumps, is_scalar, loads
from armoflow.codec.recording import record_exception

REPEATS = 15
SECONDS = 0.02


@dataclass
class Point:
    x: float
    y: float


class Reference:
    pass


def refer(value: object) -> tuple[str, int, int] | None:
    return ("slot", 0, 0) if type(value) is Reference else None


def measure(operation: Callable[[], Any]) -> float:
    """Median microseconds of one call, in CPU time: other processes do not count."""
    number = 1
    while True:
        start = time.thread_time()
        for _ in range(number):
            operation()
        taken = time.thread_time() - start
        if taken > SECONDS:
            break
        number = max(number * 2, int(number * SECONDS / max(taken, 1e-9)))
    rates = []
    for _ in range(REPEATS):
        start = time.thread_time()
        for _ in range(number):
            operation()
        rates.append((time.thread_time() - start) / number)
    return statistics.median(rates) * 1e6


def pickling() -> Iterator[tuple[str, Callable[[], Any]]]:
    values = {
        "scalar": 12345,
        "arguments ((1, 2), {})": ((1, 2), {}),
        "dataclass": Point(1.0, 2.0),
        "list of 1000 floats": [float(n) for n in range(1000)],
        "small array": np.arange(16.0),
        "array of 8 MB": np.zeros(1 << 20),
        "bytes of 1 MB": b"x" * (1 << 20),
        "lambda": lambda x: x + 1,
    }
    for name, value in values.items():
        if name != "lambda":
            yield f"pickle.dumps, {name}", functools.partial(pickle.dumps, value, 5)
        yield f"dumps, {name}", functools.partial(dumps, value)
        yield f"dumps with hook, {name}", functools.partial(dumps, value, refer)
        pickled = dumps(value)
        yield f"loads, {name}", functools.partial(loads, pickled)
    referring: Any = ((Reference(), 1), {})
    yield "dumps with hook, a reference", lambda: dumps(referring, refer)
    pickled = dumps(referring, refer)
    yield "loads, a reference", lambda: loads(pickled, lambda reference: 1)
    items = list(range(1000))
    yield "is_scalar", lambda: is_scalar(5)
    yield "are_scalars, 1000", lambda: are_scalars(items)


def stored_forms() -> Iterator[tuple[str, Callable[[], Any]]]:
    small = b"".join(pack([b"pickle"]))
    yield "pack, small", lambda: pack([b"pickle"])
    yield "unpack, small", lambda: unpack(small)
    large = bytearray(8 << 20)
    packed = b"".join(pack([b"pickle"], [large]))
    yield "pack, 8 MB buffer", lambda: pack([b"pickle"], [large])
    yield "unpack, 8 MB buffer", lambda: unpack(packed)
    pickled = b"p" * (1 << 20)
    in_band = b"".join(pack_envelope([Slot(SlotKind.VALUE, pickled)]))
    yield "pack_envelope, 1 MB pickle", lambda: pack_envelope([Slot(SlotKind.VALUE, pickled)])
    yield "unpack_envelope, 1 MB pickle", lambda: unpack_envelope(in_band)
    for count in (1, 1000):
        cells = [pickle.dumps(n, 5) for n in range(count)]
        data = b"".join(pack_envelope(cells))
        yield f"pack_envelope, {count} cells", functools.partial(pack_envelope, cells)
        yield f"unpack_cells, {count} cells", functools.partial(unpack_cells, data)
        yield f"unpack_envelope, {count} slots", functools.partial(unpack_envelope, data)
    code = CodeReference("d" * 32, b"c" * 600)
    call = Payload(
        Operation.CALL, "f", code, inputs=["i" * 36], arguments=dumps(((1, 2), {})), positions=3
    )
    mapped = Payload(
        Operation.MAP,
        "f",
        code,
        inputs=["i" * 36],
        columns=[[Values(pickle.dumps(list(range(1000)), 5), 1000)], [InputSlots(0, 0, 1000)]],
        count=1000,
        settings=Settings(packed=True),
    )
    separate = Payload(
        Operation.MAP, "f", code, columns=[[PickledItems([Pickled(b"p" * 40)] * 100)]], count=100
    )
    for name, payload in [("call", call), ("map", mapped), ("100 items", separate)]:
        data = b"".join(pack_payload(payload))
        yield f"pack_payload, {name}", functools.partial(pack_payload, payload)
        yield f"unpack_payload, {name}", functools.partial(unpack_payload, data)


def code() -> Iterator[tuple[str, Callable[[], Any]]]:
    def factorial(n: int) -> int:
        return 1 if n == 0 else n * factorial(n - 1)

    encoded = encode_function(factorial)
    cache = CodeCache()
    cache.function(encoded.digest, encoded.data)
    yield "encode_function, by reference", lambda: encode_function(statistics.median)
    yield "encode_function, by value", lambda: encode_function(factorial)
    yield "CodeCache.function, known", lambda: cache.function(encoded.digest)
    yield "CodeCache.function, new", lambda: CodeCache().function(encoded.digest, encoded.data)
    bundle = ModuleBundle()
    bundle.add(["armoflow_not_a_module", "tests"])
    yield "ModuleBundle.encode, unchanged", bundle.encode


def failures() -> Iterator[tuple[str, Callable[[], Any]]]:
    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        raise ValueError(f"bad value {depth}")

    try:
        fail(5)
    except ValueError as raised:
        error = raised
    record = record_exception(error, node="f", item=3)
    data, text = record.encode(), record.to_text()
    wrapped = "the task failed with: " * 20 + text + " and that was all"
    yield "record_exception", lambda: record_exception(error, node="f", item=3)
    yield "ErrorRecord.encode", record.encode
    yield "ErrorRecord.decode", lambda: ErrorRecord.decode(data)
    yield "ErrorRecord.to_text", record.to_text
    yield "ErrorRecord.find", lambda: ErrorRecord.find(wrapped)
    yield "ErrorRecord.exception", record.exception


def main() -> None:
    wanted = sys.argv[1:]
    for group in (pickling, stored_forms, code, failures):
        for name, operation in group():
            if not wanted or any(word in name for word in wanted):
                print(f"{measure(operation):12.3f} us  {name}", flush=True)


if __name__ == "__main__":
    main()
