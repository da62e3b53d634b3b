from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from armoflow.agent import lane_frames
from armoflow.agent.effects import ChildTask, CreatedResult, Effects, StagedFile

names = st.text(max_size=10)
data = st.binary(max_size=50) | st.builds(StagedFile, names, st.integers(0, 2**40))
options = st.none() | st.dictionaries(names, st.integers(-1, 9) | names, max_size=3)
effects = st.builds(
    Effects,
    created=st.lists(st.builds(CreatedResult, names, names), max_size=3),
    data=st.dictionaries(names, data, max_size=3),
    children=st.lists(
        st.builds(ChildTask, names, st.lists(names), st.lists(names), options), max_size=3
    ),
)


@given(st.lists(effects, max_size=4), st.data())
def test_effects_cross_in_pieces_of_any_size(sent: list[Effects], pieces: st.DataObject) -> None:
    pack = lane_frames.packer().pack
    stream = b"".join(
        pack([lane_frames.DONE, serial, 5, *lane_frames.encode_effects(one)])
        for serial, one in enumerate(sent)
    )
    reader = lane_frames.unpacker()
    received = []
    while stream:
        length = pieces.draw(st.integers(1, len(stream)))
        reader.feed(stream[:length])
        received.extend(reader)
        stream = stream[length:]
    assert [lane_frames.decode_effects(*message[3:]) for message in received] == sent
    assert [message[1] for message in received] == list(range(len(sent)))


def test_outputs_neither_made_nor_handed_on_are_found() -> None:
    made = Effects(data={"a": b""}, children=[ChildTask("p", [], ["b"])])
    assert made.undelivered(["a", "b", "c"]) == ["c"]


def test_staged_files_are_found() -> None:
    file = StagedFile("/somewhere", 5)
    assert Effects(data={"a": b"", "b": file}).staged_files() == [file]
