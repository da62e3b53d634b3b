"""The outer form of everything that armoflow stores: a header, then aligned raw buffers.

Results and payloads are both containers. The header is msgpack; large binary data (numpy arrays,
bytes buffers) lies behind it, aligned, so that a reader maps the file and views it in place.

Layout, little endian::

    magic "aflw" | version u8 | flags u8 | reserved u16 | header length u32
    total length u64 | checksum u32 | header | padding | buffer | padding | buffer ...

The checksum covers the whole header and every buffer up to 64 KiB; of a longer buffer its first and
last 4 KiB. That finds truncation, torn writes and mixed-up objects without reading 8 MB for the
sake of a header; bit rot is the business of the transport and of the file system.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence, Sized
from typing import Any, TypeAlias

import msgpack

from armoflow.errors import EnvelopeError

Buffer: TypeAlias = bytes | bytearray | memoryview

MAGIC = b"aflw"
VERSION = 1
ALIGNMENT = 64
_PREFIX = struct.Struct("<4sBBHIQI")
_BEGINNING = MAGIC + bytes([VERSION])
_WHOLE = 64 * 1024
_EDGE = 4 * 1024


def pack(header: Any, buffers: Sequence[Buffer] = ()) -> list[Buffer]:
    """Lay out a header and its buffers.

    Args:
        header: Anything that msgpack can write.
        buffers: Contiguous one-dimensional byte buffers; not copied.

    Returns:
        The parts to write one after the other; ``b"".join(parts)`` is the container.

    Example:
        >>> header, buffers = unpack(b"".join(pack({"a": 1}, [b"xyz"])))
        >>> header, bytes(buffers[0])
        ({'a': 1}, b'xyz')
    """
    lengths = list(map(len, buffers)) if buffers else []
    encoded = packed([header, lengths])
    position = _PREFIX.size + len(encoded)
    body: list[Buffer] = []
    checksum = zlib.crc32(encoded)
    for buffer in buffers:
        padding = -position % ALIGNMENT
        if padding:
            body.append(b"\0" * padding)
        body.append(buffer)
        position += padding + len(buffer)
        checksum = _add(checksum, buffer)
    prefix = _PREFIX.pack(MAGIC, VERSION, 0, 0, len(encoded), position, checksum)
    return [prefix + encoded, *body]


_packers: list[msgpack.Packer] = []
"""Those that nobody uses now: to make one takes longer than to write what is small."""


def packed(value: Any) -> bytes:
    r"""A value as msgpack writes it; in any thread, also where the collector interrupts another.

    Example:
        >>> packed([1, b"a"])
        b'\x92\x01\xc4\x01a'
    """
    try:
        packer = _packers.pop()
    except IndexError:
        packer = msgpack.Packer(use_bin_type=True)
    data: bytes = packer.pack(value)
    if len(data) <= _WHOLE:  # its buffer has not grown; what failed has something left in it
        _packers.append(packer)
    return data


def size(parts: Iterable[Sized]) -> int:
    """Bytes of a packed container, or of other parts."""
    return sum(map(len, parts))


PREFIX_BYTES = _PREFIX.size


def written_size(prefix: Buffer) -> int | None:
    """How long a container is, by its first ``PREFIX_BYTES``; None if it is something else.

    Example:
        >>> data = b"".join(pack({"a": 1}, [b"xyz"]))
        >>> written_size(data[:PREFIX_BYTES]) == len(data), written_size(b"text")
        (True, None)
    """
    if len(prefix) < PREFIX_BYTES or bytes(prefix[: len(MAGIC)]) != MAGIC:
        return None
    size: int = _PREFIX.unpack_from(prefix)[5]
    return size


def written_checksum(prefix: Buffer) -> int:
    """The checksum that a container says it has, by its first ``PREFIX_BYTES``.

    Example:
        >>> one, other = (b"".join(pack({"a": number})) for number in (1, 2))
        >>> written_checksum(one) == written_checksum(other)
        False
    """
    checksum: int = _PREFIX.unpack_from(prefix)[6]
    return checksum


def keeps_promise(data: Buffer, size: int, checksum: int) -> bool:
    """Whether data has this size, and says that it has this checksum.

    Example:
        >>> data = b"".join(pack({"a": 1}))
        >>> keeps_promise(data, len(data), written_checksum(data)), keeps_promise(data, 5, 0)
        (True, False)
    """
    if len(data) != size or size < PREFIX_BYTES or stranger(data):
        return False
    return written_checksum(data) == checksum


def stranger(data: Buffer) -> str:
    """Why data cannot be a container that this armoflow reads, by its beginning; empty: it may be.

    Example:
        >>> stranger(b"".join(pack({"a": 1}))), stranger(b"HELLO")
        ('', "it starts with b'HELL'")
    """
    beginning = bytes(data[: len(_BEGINNING)])
    if beginning == _BEGINNING:
        return ""
    if beginning[: len(MAGIC)] != MAGIC:
        return f"it starts with {beginning[: len(MAGIC)]!r}"
    return f"it has format version {beginning[-1]}, this armoflow reads {VERSION}"


def unpack(data: Buffer) -> tuple[Any, list[memoryview]]:
    """Read a container back; the buffers are views of ``data``, not copies.

    Raises:
        EnvelopeError: If the data is truncated, corrupt, or of an unknown version.
    """
    view = memoryview(data)
    if len(view) < _PREFIX.size:
        raise EnvelopeError(f"stored data is truncated: {len(view)} bytes, no header")
    magic, version, _, _, header_length, total, expected = _PREFIX.unpack_from(view)
    if magic != MAGIC:
        raise EnvelopeError(f"stored data was not written by armoflow: {stranger(view)}")
    if version != VERSION:
        raise EnvelopeError(
            f"stored data has format version {version}, this armoflow reads {VERSION}: "
            "use the same armoflow on both sides"
        )
    if total != len(view):
        raise EnvelopeError(f"stored data is {len(view)} bytes long, {total} were written")
    encoded = view[_PREFIX.size : _PREFIX.size + header_length]
    checksum = zlib.crc32(encoded)
    try:
        header, lengths = msgpack.unpackb(encoded, raw=False, strict_map_key=False)
        end = _PREFIX.size + header_length
        buffers, end = ([], end) if lengths == [] else _slice(view, end, lengths)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise EnvelopeError(f"stored data has a corrupt header: {error}") from error
    for buffer in buffers:
        checksum = _add(checksum, buffer)
    if checksum != expected or end != total:
        raise EnvelopeError("stored data is corrupt: its checksum does not match")
    return header, buffers


def _slice(view: memoryview, position: int, lengths: Sequence[int]) -> tuple[list[memoryview], int]:
    buffers = []
    for length in lengths:
        if not isinstance(length, int) or length < 0:
            raise ValueError(f"buffer length {length!r}")
        position += -position % ALIGNMENT
        if position + length > len(view):
            raise ValueError("a buffer lies beyond the end")
        buffers.append(view[position : position + length])
        position += length
    return buffers, position


def _add(checksum: int, buffer: Buffer) -> int:
    if len(buffer) <= _WHOLE:
        return zlib.crc32(buffer, checksum)
    view = memoryview(buffer)
    return zlib.crc32(view[-_EDGE:], zlib.crc32(view[:_EDGE], checksum))
