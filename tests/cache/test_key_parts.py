"""What a key was made of, read back from an index: data, which may be anybody's."""

from __future__ import annotations

import zlib
from typing import Any

import msgpack
import pytest

from armoflow.cache.key_parts import (
    Argument,
    CodeParts,
    CodePiece,
    KeyParts,
    decode_code,
    decode_parts,
)
from armoflow.errors import EnvelopeError

CODE = CodeParts(b"1", {"function m:f": CodePiece(b"2", "def f(): ...")}, ("numpy 2",))
PARTS = KeyParts("m:f", "call", None, CODE, {"x": Argument(b"1", "5")}, {"python": "3"})


def test_what_cannot_be_written_is_replaced() -> None:
    """Texts of values may hold half a character; keys are told by their digests."""
    odd = {"half a \ud83d": Argument(b"1", "\udfff")}
    parts = KeyParts("m:f", "call", None, None, odd, {})
    assert decode_parts(parts.encode()).arguments == {"half a ?": Argument(b"1", "?")}


@pytest.mark.parametrize(
    ("place", "wrong"),
    [(5, []), (5, {"x": []}), (5, {"x": 7}), (6, 7), (6, ["x"]), (0, 9), (6, b"xy")],
    ids=str,
)
def test_parts_that_are_something_else_are_told(place: int, wrong: Any) -> None:
    fields = msgpack.unpackb(PARTS.encode())
    fields[place] = wrong
    with pytest.raises(EnvelopeError):
        decode_parts(msgpack.packb(fields))


@pytest.mark.parametrize(
    ("place", "wrong"), [(2, []), (2, {"f": {}}), (2, {"f": 7}), (3, -1), (0, 9)], ids=str
)
def test_code_that_is_something_else_is_told(place: int, wrong: Any) -> None:
    fields = msgpack.unpackb(zlib.decompress(CODE.encode()))
    fields[place] = wrong
    with pytest.raises(EnvelopeError):
        decode_code(zlib.compress(msgpack.packb(fields)))
