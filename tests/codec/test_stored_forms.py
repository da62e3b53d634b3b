import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow import config
from armoflow.codec.container import ALIGNMENT, pack, size, unpack
from armoflow.codec.envelope import (
    ABSENT,
    Slot,
    SlotKind,
    pack_envelope,
    unpack_cells,
    unpack_envelope,
    unpack_told,
)
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
from armoflow.errors import EnvelopeError
from armoflow.placement import Limits, Offer

SHORT = st.binary(max_size=50)
BINARY = SHORT | st.integers(0, 5).map(lambda n: bytes([n]) * (40_000 * n))
HEADERS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)
PICKLED = st.builds(Pickled, BINARY, st.lists(BINARY, max_size=2).map(tuple))
SLOTS = (
    st.builds(Slot, st.just(SlotKind.VALUE), BINARY, st.lists(BINARY, max_size=3).map(tuple))
    | st.builds(Slot, st.sampled_from([SlotKind.ERROR, SlotKind.SKIPPED]), BINARY)
    | st.just(ABSENT)
)
CODE = st.none() | st.builds(
    CodeReference, st.text(), st.none() | st.binary(), st.none() | st.text()
)
NUMBERS = st.integers(0, 2**40)
PIECES = (
    st.builds(Values, st.binary(), NUMBERS)
    | st.builds(PickledItems, st.lists(PICKLED, max_size=2))
    | st.builds(InputSlots, NUMBERS, NUMBERS, NUMBERS)
)
SECONDS = st.floats(0, 1e6)
OFFERS = st.builds(Offer, st.text(), NUMBERS, st.none() | NUMBERS, NUMBERS)
SETTINGS = st.builds(
    Settings,
    retries=NUMBERS,
    backoff=SECONDS,
    timeout=st.none() | SECONDS,
    crash_retries=NUMBERS,
    packed=st.booleans(),
    capture=st.booleans(),
    priority=st.none() | NUMBERS,
    partition=st.none() | st.text(),
    max_retries=st.none() | NUMBERS,
    defaults=st.dictionaries(
        st.text(), st.none() | st.booleans() | NUMBERS | st.text(), max_size=3
    ),
)
PAYLOADS = st.builds(
    Payload,
    operation=st.sampled_from(Operation),
    name=st.text(),
    function=CODE,
    modules=CODE,
    inputs=st.lists(st.text()),
    constants=st.lists(st.text()),
    arguments=st.none() | PICKLED,
    columns=st.lists(st.lists(PIECES, max_size=2), max_size=2),
    positions=st.one_of(NUMBERS, st.lists(NUMBERS)),
    count=NUMBERS,
    star=st.booleans(),
    final=st.booleans(),
    collection=st.booleans(),
    settings=SETTINGS,
    limits=st.none()
    | st.builds(Limits, st.lists(st.text(), max_size=2), NUMBERS, st.lists(OFFERS, max_size=2)),
    versions=st.text(),
)


def join(parts):
    data = b"".join(parts)
    assert size(parts) == len(data)
    return data


def plain(value):
    """The same, with views as bytes and sequences as tuples, to be compared."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (tuple, list)):
        return tuple(plain(item) for item in value)
    if isinstance(value, Payload):
        return tuple(plain(getattr(value, name)) for name in value.__dataclass_fields__)
    return value


@given(HEADERS, st.lists(BINARY, max_size=4))
def test_container_round_trip(header, buffers):
    data = join(pack(header, buffers))
    back, views = unpack(data)
    assert back == header
    assert [bytes(view) for view in views] == buffers
    for view in views:
        assert view.obj is data


@given(st.lists(BINARY, min_size=1, max_size=4))
def test_buffers_are_aligned(buffers):
    data = join(pack(None, buffers))
    position = 0
    for buffer in buffers:
        while data[position : position + len(buffer)] != buffer or position % ALIGNMENT:
            position += 1
            assert position <= len(data)
        position += len(buffer)


@given(st.lists(SLOTS, max_size=6))
def test_envelope_round_trip(slots):
    data = join(pack_envelope(slots))
    assert plain(unpack_envelope(data)) == plain(slots)
    cells = unpack_cells(data)
    assert join(pack_envelope(cells)) == data


@given(PAYLOADS)
def test_payload_round_trip(payload):
    assert plain(unpack_payload(join(pack_payload(payload)))) == plain(payload)


def test_payloads_of_one_node_share_what_they_say_of_it():
    many = [
        Payload(Operation.CALL, "f", CodeReference("hash", b"code"), arguments=Pickled(b"%d" % n))
        for n in range(3)
    ]
    first, *others = (unpack_payload(join(pack_payload(payload))) for payload in many)
    assert [bytes(one.arguments.data) for one in others] == [b"1", b"2"]
    assert all(one.settings is first.settings for one in others)


def test_what_payloads_share_is_told_apart_by_all_of_it():
    one = Payload(Operation.CALL, "f", settings=Settings(retries=1))
    other = Payload(Operation.CALL, "f", settings=Settings(retries=2), key=b"key")
    for payload in (one, other, one):
        assert plain(unpack_payload(join(pack_payload(payload)))) == plain(payload)


def test_large_pickles_are_viewed_in_place():
    large = b"p" * config.OUT_OF_BAND_LIMIT
    data = join(pack_envelope([large, Slot(SlotKind.VALUE, large, [b"b"]), b"small"]))
    first, second, third = unpack_cells(data)
    assert first.data.obj is data and second.data.obj is data
    assert (bytes(first.data), first.buffers) == (large, ())
    assert (bytes(second.data), bytes(second.buffers[0])) == (large, b"b")
    assert third == b"small"
    payload = Payload(
        Operation.MAP,
        "f",
        arguments=Pickled(large, (b"b",)),
        columns=[[Values(large, 3), PickledItems([Pickled(large)])]],
    )
    data = join(pack_payload(payload))
    back = unpack_payload(data)
    assert plain(back) == plain(payload)
    assert back.columns[0][0].pickled.obj is data


READERS = [unpack, unpack_envelope, unpack_payload]


@pytest.mark.parametrize("read", READERS)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(read, data):
    with pytest.raises(EnvelopeError):
        read(data)


@pytest.mark.parametrize("read", READERS)
@given(HEADERS)
def test_sound_containers_of_anything_are_read_or_refused(read, header):
    with contextlib.suppress(EnvelopeError):
        read(join(pack(header, [b"abc"])))


@given(st.lists(st.tuples(SHORT, SHORT), max_size=4), st.data())
def test_damage_is_found(pickles, data):
    stored = join(pack_envelope([Slot(SlotKind.VALUE, a, [b]) for a, b in pickles]))
    with pytest.raises(EnvelopeError):
        unpack_envelope(stored[: data.draw(st.integers(0, len(stored) - 1))])
    with pytest.raises(EnvelopeError):
        unpack_envelope(stored + b"\0")
    damaged = bytearray(stored)
    damaged[data.draw(st.integers(0, len(stored) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(EnvelopeError):  # flags and padding have no meaning yet
        assert plain(unpack_envelope(damaged)) == plain(unpack_envelope(stored))


@given(PAYLOADS, st.integers(0, 10**6), st.integers(1, 255))
def test_a_damaged_payload_is_refused_or_read(payload, position, change):
    damaged = bytearray(join(pack_payload(payload)))
    damaged[position % len(damaged)] ^= change
    with contextlib.suppress(EnvelopeError):
        unpack_payload(damaged)


@given(st.binary(max_size=64), st.data())
def test_a_forged_header_is_refused(header, data):
    import zlib

    prefix = struct.Struct("<4sBBHIQI")
    total = data.draw(st.sampled_from([prefix.size + len(header), 0, 2**63]))
    length = data.draw(st.sampled_from([len(header), len(header) + 1, 2**32 - 1]))
    forged = prefix.pack(b"aflw", 1, 0, 0, length, total, zlib.crc32(header)) + header
    with contextlib.suppress(EnvelopeError):
        unpack(forged)


def test_messages_say_what_is_wrong():
    data = join(pack([1]))
    with pytest.raises(EnvelopeError, match="truncated"):
        unpack(data[:5])
    with pytest.raises(EnvelopeError, match="not written by armoflow"):
        unpack(b"PK" + data[2:])
    with pytest.raises(EnvelopeError, match="version 9"):
        unpack(data[:4] + b"\x09" + data[5:])
    with pytest.raises(EnvelopeError, match="bytes long"):
        unpack(data + b"x")
    with pytest.raises(EnvelopeError, match="corrupt"):
        unpack(data[:-1] + bytes([data[-1] ^ 1]))


@given(st.lists(SLOTS, max_size=6), st.none() | st.floats(0, 1e9))
def test_an_envelope_may_tell_how_long_its_slots_took(slots, seconds):
    data = join(pack_envelope(slots, seconds))
    read, told = unpack_told(data)
    assert told == ({} if seconds is None else {"seconds": seconds})
    assert read == unpack_cells(data) == unpack_cells(join(pack_envelope(slots)))
    assert plain(unpack_envelope(data)) == plain(slots)
