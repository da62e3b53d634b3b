"""Nothing in an error text or slot becomes code unless the session's key has sealed it."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import sys
import textwrap
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armoflow.codec import failure
from armoflow.codec.exceptions import Form
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.pickling import dumps_whole
from armoflow.codec.recording import record_death, record_exception, record_timeout
from armoflow.codec.seal import SEAL_BYTES, holds, new_key, seal
from armoflow.errors import EnvelopeError, RemoteTaskError, TaskTimeoutError

KEY = new_key()
RUN: list[str] = []
SEVERAL = settings(max_examples=2 * settings().max_examples)


class Canary(ValueError):
    """Notes that it was unpickled."""

    def __reduce__(self) -> object:
        return sing, (str(self),)


def sing(text: str) -> Canary:
    RUN.append(text)
    return Canary(text)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    RUN.clear()
    yield
    RUN.clear()


def canary(node: str = "f", text: str = "sung") -> ErrorRecord:
    """A record whose exception notes when it is made."""
    record = record_exception(Canary(text), node=node, item=3)
    RUN.clear()
    return record


def test_what_the_key_has_sealed_is_the_exception() -> None:
    text = canary().to_text(KEY)
    found = ErrorRecord.find(text, KEY)
    assert found is not None and type(found.exception()) is Canary
    assert RUN == ["sung"]


@pytest.mark.parametrize("key", [b"", new_key()], ids=["no key", "another session's key"])
def test_without_the_key_it_is_shown_as_text(key: bytes) -> None:
    for found in (
        ErrorRecord.find(canary().to_text(KEY), key),
        ErrorRecord.find(canary().to_text(key), KEY),
        ErrorRecord.decode(canary().encode(KEY), key),
        ErrorRecord.find(canary().to_text()),
    ):
        assert found is not None
        error = found.exception()
        assert type(error) is RemoteTaskError
        assert error.type_name == f"{__name__}.Canary"
        assert "sung" in str(error)
        assert error.__cause__.node == "f[3]"
    assert RUN == []


def test_a_record_that_came_without_seal_gets_none_on_its_way() -> None:
    forged = ErrorRecord.decode(canary().encode(), KEY)
    passed_on = forged.via("g").encode(KEY)
    assert type(ErrorRecord.decode(passed_on, KEY).exception()) is RemoteTaskError
    true = ErrorRecord.decode(canary().encode(KEY), KEY)
    passed_on = true.via("g").encode(KEY)
    assert type(ErrorRecord.decode(passed_on, KEY).exception()) is Canary


def test_no_module_is_imported_for_a_record_without_seal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "imported_by_name.py").write_text("class Gone(Exception):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    state = Form("state", dumps_whole((("x",), {})))
    record = ErrorRecord("raised", "imported_by_name.Gone", "x", node="f", forms=[state])
    found = ErrorRecord.find(record.to_text(), KEY)
    assert found is not None and type(found.exception()) is RemoteTaskError
    assert "imported_by_name" not in sys.modules
    found = ErrorRecord.find(record.to_text(KEY), KEY)
    assert found is not None and type(found.exception()).__name__ == "Gone"
    del sys.modules["imported_by_name"]


def test_every_byte_is_under_the_seal() -> None:
    data = canary().encode(KEY)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with contextlib.suppress(EnvelopeError):
            assert type(ErrorRecord.decode(changed, KEY).exception()) is RemoteTaskError
    assert RUN == []


def test_a_record_of_another_task_cannot_borrow_a_seal() -> None:
    data = canary(node="f").encode(KEY)
    body = canary(node="g").encode(KEY)[1 + SEAL_BYTES :]
    mixed = data[: 1 + SEAL_BYTES] + body
    assert type(ErrorRecord.decode(mixed, KEY).exception()) is RemoteTaskError
    assert RUN == []


# --- which one of several -------------------------------------------------------------------------


def test_the_sealed_record_wins_wherever_it_stands() -> None:
    true = record_exception(ValueError("true"), node="f").to_text(KEY)
    for other in (canary().to_text(), canary().to_text(new_key()), "[armoflow-error AAAA]"):
        for text in (f"{other} {true}", f"{true} {other}", f"{other}{true}{other}"):
            found = ErrorRecord.find(f"task failed: {text} (repeated)", KEY)
            assert found is not None and found.message == "true"
    assert RUN == []


def test_a_forged_record_in_a_message_does_not_hide_the_failure() -> None:
    """Nor where the true one carries no seal, as that of an engine."""
    forged = canary().to_text().splitlines()[1]
    for message in (forged, f"in the file:\n{forged}", f"{forged}\n{forged}", forged[:-1]):
        error = ValueError(message)
        for text in (
            record_exception(error, node="f").to_text(KEY),
            record_exception(error, node="f").to_text(),
            dataclasses.replace(record_timeout(1.0, node="f"), message=message).to_text(),
            record_death(-9, node=forged, output=message).to_text(),
        ):
            found = ErrorRecord.find(text, KEY)
            assert found is not None and found.node in {"f", forged}
            assert "Canary" not in found.type_name
    assert RUN == []


def test_of_unsealed_records_the_last_is_shown() -> None:
    first = record_exception(ValueError("first"), node="f").to_text()
    second = record_timeout(1.0, node="g").to_text()
    found = ErrorRecord.find(f"{first} then {second}", KEY)
    assert found is not None and type(found.exception()) is TaskTimeoutError


def test_a_record_is_found_in_what_engines_make_of_its_text() -> None:
    text = record_exception(ValueError("told"), node="f").to_text(KEY)
    folded = textwrap.wrap(text, 76, break_long_words=True, replace_whitespace=False)
    for wrapped in (
        "\n".join(folded),
        "\r\n\t".join(folded),
        f"Task 3 [pod x]:\n{text}\nTask 2 [pod y]: {text}]]",
        f"[armoflow-error {text}",
        f"[armoflow-error AAAA {text}",
    ):
        found = ErrorRecord.find(wrapped, KEY)
        assert found is not None and type(found.exception()) is ValueError
    assert ErrorRecord.find("nothing here", KEY) is None
    assert ErrorRecord.find(text[:-9], KEY) is None


# --- the key --------------------------------------------------------------------------------------


def test_the_key_is_in_no_text() -> None:
    key = b"K" * 32
    for error in (ValueError("x"), ValueError("x" * 100_000)):
        record = record_exception(error, node="f")
        for data in (record.encode(key), record.to_text(key).encode()):
            assert key[:8] not in data
            assert base64.b64encode(key)[:10] not in data


def test_seals() -> None:
    assert holds(KEY, b"data", seal(KEY, b"data"))
    assert not holds(KEY, b"data", seal(KEY, b"date"))
    assert not holds(KEY, b"data", b"")
    assert not holds(b"", b"data", seal(b"", b"data")), "without a key nothing is confirmed"


# --- anything else is refused ---------------------------------------------------------------------


def stored(values: object, key: bytes = KEY) -> bytes:
    """What would be stored for some values."""
    body = zlib.compress(msgpack.packb(values))
    return bytes([failure._FORMAT]) + seal(key, body) + body


def values_of(record: ErrorRecord) -> list[object]:
    body = record.encode(KEY)[1 + SEAL_BYTES :]
    return msgpack.unpackb(zlib.decompress(body))  # type: ignore[no-any-return]


TEXTS = ("kind", "type_name", "message", "node", "detail", "task_id", "output")
NUMBERS = ("attempts", "omitted")
LISTS = ("frames", "path", "forms", "chain")


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (TEXTS, [None, 7, b"bytes", ["x"], {"a": 1}]),
        (["kind"], ["", "imagined"]),
        (NUMBERS, [None, 1.5, True, "7", [7]]),
        (["item"], [1.5, False, "7", [7]]),
        (LISTS, [None, 7, "text", b"bytes", {"a": 1}, [7], [None], [["x"]], [[1, 2, 3, 4, 5, 6]]]),
        (["frames"], [[["file", "1", "f", ""]], [[1, 1, "f", ""]], [["file", 1, "f"]]]),
        (["forms"], [[["whole", "text"]], [["imagined", b""]], [["whole", b"", b""]]]),
        (["chain"], [[["text", [], 1, 0]], [["text", None, True, 0]], [["text", [], True, ""]]]),
    ],
)
def test_values_of_other_types_are_refused(names: Sequence[str], wrong: Sequence[object]) -> None:
    for name in names:
        for value in wrong:
            values = values_of(canary())
            values[failure._STORED.index(name)] = value
            with pytest.raises(EnvelopeError):
                ErrorRecord.decode(stored(values), KEY)
    assert RUN == []


def test_other_numbers_of_values_are_refused() -> None:
    values = values_of(canary())
    for other in (values[:-1], [*values, ""], {}, 7, [], None, dict(enumerate(values))):
        with pytest.raises(EnvelopeError):
            ErrorRecord.decode(stored(other), KEY)


def test_bombs_are_refused_at_their_limit() -> None:
    body = zlib.compress(bytes(failure._LARGEST + 1), 9)
    bomb = bytes([failure._FORMAT]) + seal(KEY, body) + body
    with pytest.raises(EnvelopeError, match="larger"):
        ErrorRecord.decode(bomb, KEY)
    text = f"[armoflow-error {base64.b64encode(bomb[:1] + bytes(16) + body).decode()}]" * 300
    assert ErrorRecord.find(text, KEY) is None


def test_a_record_of_very_many_small_parts_is_refused() -> None:
    """Read, it would take sixty times the bytes that it has."""
    parts = b"\xdd" + (2 * failure._ENTRIES).to_bytes(4, "big") + b"\x90" * (2 * failure._ENTRIES)
    body = zlib.compress(parts)
    with pytest.raises(EnvelopeError, match=r"more than .* entries"):
        ErrorRecord.decode(bytes([failure._FORMAT]) + seal(KEY, body) + body, KEY)


def test_deep_nesting_is_refused() -> None:
    for opening in (b"\x91", b"\x81\xa1k"):
        body = zlib.compress(opening * 100_000 + b"\xc0")
        with pytest.raises(EnvelopeError):
            ErrorRecord.decode(bytes([failure._FORMAT]) + seal(KEY, body) + body, KEY)


def test_texts_that_nearly_match_take_no_long_time() -> None:
    for text in (
        "[armoflow-error " + " " * 200_000,
        "[armoflow-error " * 20_000,
        "[armoflow-error A" * 20_000 + "]",
        "[armoflow-error " + "A" * 1_000_000 + "]",
    ):
        assert ErrorRecord.find(text, KEY) is None


def test_records_of_the_first_format_are_not_read() -> None:
    with pytest.raises(EnvelopeError, match=f"format {failure._FORMAT}"):
        ErrorRecord.decode(zlib.compress(msgpack.packb([1, "raised", "ValueError"])), KEY)


# --- fuzzing --------------------------------------------------------------------------------------

MARKED = st.binary(max_size=200).map(
    lambda data: f"[armoflow-error {base64.b64encode(data).decode()}]"
)
FORGED = st.sampled_from([canary().to_text(key) for key in (b"", new_key(), b"k")])
BODIES = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=14) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=30,
)
TEXTS_AROUND = st.text(max_size=100) | st.sampled_from(["[armoflow-error ", "]", "[", "\n", " "])


@st.composite
def changed(draw: st.DrawFn) -> str:
    """The text of a sealed record, with one change that must break its seal."""
    line = canary().to_text(KEY).splitlines()[1]
    start, end = len("[armoflow-error "), len(line) - 1
    data = bytearray(base64.b64decode(line[start:end]))
    position = draw(st.integers(0, len(data) - 1))
    how = draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
    if how == "flip":
        data[position] ^= draw(st.integers(1, 255))
    elif how == "cut":
        del data[position:]
    elif how == "insert":
        data.insert(position, draw(st.integers(0, 255)))
    else:
        data[position:position] = data
    return f"{line[:start]}{base64.b64encode(data).decode()}]"


@SEVERAL
@given(st.lists(TEXTS_AROUND | MARKED | FORGED | changed(), max_size=8))
def test_no_text_is_unpickled_without_a_seal(parts: list[str]) -> None:
    found = ErrorRecord.find("".join(parts), KEY)
    if found is not None:
        assert not found.trusted and found.forms == ()
        found.exception()
    assert RUN == []


@SEVERAL
@given(
    st.lists(TEXTS_AROUND | MARKED | FORGED | changed(), max_size=5),
    st.lists(TEXTS_AROUND.filter(lambda text: "]" not in text) | MARKED | FORGED, max_size=5),
)
def test_the_sealed_one_is_found_among_anything(before: list[str], after: list[str]) -> None:
    true = record_exception(ValueError("true"), node="f").to_text(KEY)
    found = ErrorRecord.find("".join([*before, " ", true, " ", *after]), KEY)
    assert found is not None and found.trusted and found.message == "true"
    assert RUN == []


@SEVERAL
@given(st.binary(max_size=200) | BODIES.map(lambda values: stored(values, b"other")))
def test_no_slot_is_unpickled_without_a_seal(data: bytes) -> None:
    with contextlib.suppress(EnvelopeError):
        record = ErrorRecord.decode(data, KEY)
        assert record.forms == ()
        record.exception()
    assert RUN == []


@SEVERAL
@given(BODIES, st.integers(0, 12))
def test_sealed_nonsense_is_refused_or_read(value: object, place: int) -> None:
    """Should somebody with the key write nonsense, that is told too."""
    values = values_of(record_exception(ValueError("x"), node="f"))
    values[place] = value
    for data in (stored(values), stored(value)):
        with contextlib.suppress(EnvelopeError):
            ErrorRecord.decode(data, KEY).exception()
