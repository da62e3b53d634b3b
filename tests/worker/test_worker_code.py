"""Functions in a worker's process: loaded once, let go when others need the room."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest

from armoflow import config
from armoflow.codec.functions import EncodedFunction, encode_function
from armoflow.codec.payload import CodeReference, Operation, Payload
from armoflow.worker.function_cache import FunctionCache


def encode(size: int) -> EncodedFunction:
    ballast = bytes(size)
    function: Callable[[], int] = lambda: len(ballast)  # noqa: E731
    return encode_function(function)


def payload_of(encoded: EncodedFunction) -> Payload:
    payload = Payload(Operation.CALL, "count")
    payload.function = CodeReference(encoded.digest, encoded.data)
    return payload


def no_fetch(result_id: str) -> bytes:
    raise AssertionError(f"{result_id} was fetched")


def test_a_function_goes_with_all_that_it_holds() -> None:
    size = config.CODE_CACHE_BYTES // 2
    code = FunctionCache(no_fetch)
    first = payload_of(encode(size))
    function = code.function(first).function
    assert code.reference(function) is first.function
    gone = weakref.ref(function)
    del function, first
    for more in (1, 2):
        assert code.function(payload_of(encode(size + more))).call() == size + more
    assert gone() is None


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_function_is_loaded_once(size: int) -> None:
    code = FunctionCache(no_fetch)
    payload = payload_of(encode(size))
    assert code.function(payload).function is code.function(payload).function


def test_a_function_in_use_stays() -> None:
    code = FunctionCache(no_fetch)
    size = config.CODE_CACHE_BYTES // 3
    used, other = payload_of(encode(size)), payload_of(encode(size + 1))
    function = code.function(used).function
    code.function(other)
    assert code.function(used).function is function
    code.function(payload_of(encode(size + 2)))
    assert code.function(used).function is function
