"""gRPC-Web on the wire: length-prefixed messages, the trailers as the last one, and base64.

A frame is a byte of flags, four bytes of length, and the data. In the *text* form, for browsers
that cannot read binary streams, all of it is base64, of which a stream may have several pieces,
each with its own padding.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

BINARY: Final = "application/grpc-web"
TEXT: Final = "application/grpc-web-text"

_HEAD: Final = struct.Struct(">BI")
_COMPRESSED: Final = 0x01
_TRAILERS: Final = 0x80
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class BrokenBodyError(Exception):
    """The body of a request is not what it must be.

    Attributes:
        code: The gRPC status code.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def is_text(content_type: str) -> bool | None:
    """Whether a content type is of the text form; None: it is not gRPC-Web.

    Example:
        >>> [is_text(t) for t in ("application/grpc-web+proto", "application/grpc-web-text", "x")]
        [False, True, None]
    """
    kind = content_type.partition(";")[0].strip().lower()
    for form, answer in ((TEXT, True), (BINARY, False)):
        if kind in (form, f"{form}+proto"):
            return answer
    return None


def message_frame(data: bytes) -> bytes:
    r"""A message.

    Example:
        >>> message_frame(b"ab")
        b'\x00\x00\x00\x00\x02ab'
    """
    return _HEAD.pack(0, len(data)) + data


def trailers_frame(status: int, text: str, others: Iterable[tuple[str, str]] = ()) -> bytes:
    r"""The end of a reply: its status, and what else the server said at the end.

    Example:
        >>> trailers_frame(5, "no\u00e9")[5:]
        b'grpc-status: 5\r\ngrpc-message: no%C3%A9\r\n'
    """
    lines = [("grpc-status", str(status))]
    if text:
        lines.append(("grpc-message", quote(text, safe=_UNQUOTED)))
    lines += others
    data = "".join(f"{name}: {value}\r\n" for name, value in lines).encode("latin-1", "replace")
    return _HEAD.pack(_TRAILERS, len(data)) + data


_UNQUOTED: Final = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What stays as it is in a grpc-message: all that is printable in ASCII, but for the percent."""


def parse_timeout(text: str) -> float:
    """The seconds of a ``grpc-timeout`` header.

    Raises:
        ValueError: If it is none.

    Example:
        >>> parse_timeout("10S"), parse_timeout("250m")
        (10.0, 0.25)
    """
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdecimal() or len(number) > 8:
        raise ValueError(f"grpc-timeout is {text!r}: write at most eight digits and a unit")
    return int(number) * _UNITS[unit]


class Frames:
    """Takes the pieces of a request's body, and gives its messages.

    Args:
        text: Whether it is base64.
        limit: Bytes that a message may have.
    """

    def __init__(self, *, text: bool, limit: int) -> None:
        self._text = text
        self._limit = limit
        self._coded = b""
        self._buffer = bytearray()
        self._count = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole with this piece.

        Raises:
            BrokenBodyError: If the body is malformed, or a message too large.
        """
        self._buffer += self._decode(data) if self._text else data
        while len(self._buffer) >= _HEAD.size:
            flags, size = _HEAD.unpack_from(self._buffer)
            if flags & _COMPRESSED:
                raise BrokenBodyError(12, "compressed messages are not taken")
            if flags:
                raise BrokenBodyError(3, f"a message has unknown flags: {flags:#04x}")
            if size > self._limit:
                raise BrokenBodyError(
                    8, f"a message of {size} bytes is larger than the limit of {self._limit}"
                )
            if len(self._buffer) < _HEAD.size + size:
                return
            message = bytes(self._buffer[_HEAD.size : _HEAD.size + size])
            del self._buffer[: _HEAD.size + size]
            self._count += 1
            yield message

    def end(self) -> None:
        """The body has ended.

        Raises:
            BrokenBodyError: If a message is not whole, or there was none, which no server answers.
        """
        if self._buffer or self._coded:
            raise BrokenBodyError(3, "the body ends in the middle of a message")
        if not self._count:
            raise BrokenBodyError(3, "the body has no message")

    def _decode(self, data: bytes) -> bytes:
        """Base64 by whole groups of four; what is left waits for the next piece."""
        coded = self._coded + data
        whole = len(coded) // 4 * 4
        self._coded = coded[whole:]
        try:
            return b"".join(
                base64.b64decode(piece, validate=True) for piece in _padded_pieces(coded[:whole])
            )
        except binascii.Error as error:
            raise BrokenBodyError(3, f"the body is no base64: {error}") from None


def _padded_pieces(coded: bytes) -> Iterator[bytes]:
    """Cut base64 behind each padding, which ends a piece."""
    start = 0
    while (mark := coded.find(b"=", start)) >= 0:
        end = (mark // 4 + 1) * 4
        yield coded[start:end]
        start = end
    if start < len(coded):
        yield coded[start:]
