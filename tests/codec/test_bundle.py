"""Payloads that are stored as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow.codec.bundle import PayloadReader, pack_bundle, read_payload, read_payloads
from armoflow.codec.payload import CodeReference, Operation, Payload, Pickled, Settings, Stage
from armoflow.codec.payload_layout import pack_payload
from armoflow.codec.task_needs import constants_of
from armoflow.config import OUT_OF_BAND_LIMIT
from armoflow.errors import EnvelopeError

PICKLES = st.builds(
    Pickled,
    st.sampled_from([b"", b"small", bytes(OUT_OF_BAND_LIMIT)]),
    st.lists(st.binary(max_size=100), max_size=2).map(tuple),
)
PAYLOADS = st.builds(
    Payload,
    st.sampled_from([Operation.CALL, Operation.MAP]),
    st.sampled_from(["f", "g"]),
    st.sampled_from([CodeReference("f", b"code"), CodeReference("g", None, "code-id")]),
    inputs=st.lists(st.sampled_from(["a", "b"]), unique=True),
    constants=st.lists(st.sampled_from(["p", "q"]), unique=True),
    arguments=PICKLES,
    settings=st.builds(Settings, retries=st.integers(0, 1)),
    stages=st.lists(st.builds(Stage, st.just("h"), st.just(CodeReference("f", b"code")), PICKLES)),
    spent=st.integers(0, 2),
)


@given(st.lists(PAYLOADS, min_size=1, max_size=5))
def test_each_task_finds_what_it_would_have_been_given_alone(payloads: list[Payload]) -> None:
    data = b"".join(pack_bundle([(f"out-{i}", one) for i, one in enumerate(payloads)]))
    reader = PayloadReader()
    alone = [read_payload(b"".join(pack_payload(one)), ()) for one in payloads]
    for number, one in enumerate(alone):
        assert _written(reader.read(data, [f"out-{number}", "another"])) == _written(one)
    assert [_written(one) for one in read_payloads(data)] == [_written(one) for one in alone]


def _written(payload: Payload) -> bytes:
    return b"".join(pack_payload(payload))


def _bundle(**payloads: Payload) -> bytes:
    return b"".join(pack_bundle(payloads.items()))


def test_a_reader_changes_between_bundles_and_lone_payloads() -> None:
    f, g = Payload(Operation.CALL, "f"), Payload(Operation.CALL, "g")
    one, other, lone = _bundle(a=f, b=g), _bundle(a=g, b=f), _written(f)
    reader = PayloadReader()
    read = [reader.read(data, ["a"]).name for data in (one, other, lone, one, one)]
    assert read == ["f", "g", "f", "f", "f"]


@pytest.mark.parametrize("outputs", [[], ["c"]])
def test_a_task_that_is_not_in_a_bundle_is_told(outputs: list[str]) -> None:
    f = Payload(Operation.CALL, "f")
    with pytest.raises(EnvelopeError, match="nothing for a task with outputs"):
        read_payload(_bundle(a=f, b=f), outputs)


def test_what_a_bundle_names_is_known_of_all_and_of_one() -> None:
    f = Payload(Operation.CALL, "f", CodeReference("f", None, "code"), constants=["p"])
    g = Payload(Operation.CALL, "g", CodeReference("f", None, "code"), constants=["q"])
    assert constants_of(_bundle(a=f, b=g)) == ["p", "code", "q"]
    assert constants_of(_bundle(a=f, b=g), ["b"]) == ["q", "code"]
