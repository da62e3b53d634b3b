"""What the batch stream refuses, and that a refusal harms nobody."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import msgpack
import pytest
from armonik.client import ArmoniKResults, ArmoniKSessions, ArmoniKTasks
from raw_stream import DOORS, RawStream, open_stream
from serving import Serving, serve, task_options

from armoflow.config import FRAME_ASKED, FRAME_RESULTS, FRAME_TASKS
from armoflow.engine.services import connection
from armoflow.engine.services.connection import Connection
from armoflow.protocol.frames import Kind

HUGE = 2**63
OPTIONS = {"max_duration": 60.0, "priority": 1, "partition_id": "default"}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serve(tmp_path_factory.mktemp("state")) as running:
        yield running


@pytest.fixture
def session(serving: Serving) -> str:
    return ArmoniKSessions(serving.channel).create_session(task_options())


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stream(serving: Serving, door: str) -> Iterator[RawStream]:
    raw = open_stream(serving, door)
    raw.greet()
    yield raw
    raw.close()


def traces(serving: Serving) -> tuple[Any, ...]:
    """Everything that a refused frame could leave behind."""

    async def look() -> tuple[Any, ...]:
        engine = serving.server.engine
        await engine.committed()
        return (
            len(engine.state.results),
            len(engine.state.tasks),
            engine.objects._memory_used,
            len(engine.objects._files),
            sorted(Path(engine.objects.staging).iterdir()),
            sum(map(len, engine._watchers._results.values())),
        )

    return serving.run(look())


def names(identifier: str) -> tuple[Any, ...]:
    """A submission of one task, by a prefix of its ids."""
    payload, output = f"{identifier}-p", f"{identifier}-o"
    return (
        [[payload, "payload/"], [output, "output.wanted/x"]],
        [OPTIONS],
        [[output, payload, [], [output], 0]],
        [[payload, b"data"]],
    )


BAD_IDS: list[Any] = [
    "",
    ".",
    "..",
    "a/b",
    "/etc/passwd",
    "a\0",
    "a\nb",
    "x" * 201,
    7,
    b"raw",
    None,
    [],
]


@pytest.mark.parametrize("bad", BAD_IDS, ids=repr)
def test_ids_that_could_not_be_files_are_refused(
    serving: Serving, session: str, stream: RawStream, bad: Any
) -> None:
    before = traces(serving)
    results, options, tasks, payloads = names("good")
    for submission in (
        ([[bad, "output/x"]], [], [], []),
        (results, options, [[bad, "good-p", [], ["good-o"], 0]], payloads),
        (results, options, tasks, [[bad, b"data"]]),
        (results, options, [["good-t", bad, [], ["good-o"], 0]], payloads),
        (results, options, [["good-t", "good-p", [bad], ["good-o"], 0]], payloads),
        (results, options, [["good-t", "good-p", [], [bad], 0]], payloads),
    ):
        kind, code, text, _ = stream.request(Kind.SUBMIT, session, *submission)
        assert (kind, code in {"INVALID_ARGUMENT", "NOT_FOUND"}) == (Kind.REFUSED, True)
        assert text
    assert traces(serving) == before


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("max_duration", float("nan")),
        ("max_duration", float("inf")),
        ("max_duration", -float("inf")),
        ("max_duration", 1e300),
        ("max_duration", "60"),
        ("max_retries", HUGE),
        ("max_retries", -(2**31) - 1),
        ("max_retries", 1.5),
        ("priority", 2**31),
        ("priority", True),
        ("partition_id", 5),
        ("partition_id", "x" * 20_000),
        ("application_name", b"name"),
        ("engine_type", None),
        ("options", []),
        ("options", {"key": 1}),
        ("options", {"key": "x" * 300_000}),
        ("options", {str(number): "" for number in range(1001)}),
        ("unknown", 1),
    ],
)
def test_options_that_could_not_be_listed_are_refused_by_name(
    serving: Serving, session: str, stream: RawStream, field: str, bad: Any
) -> None:
    before = traces(serving)
    results, _, tasks, payloads = names("options")
    kind, code, text, _ = stream.request(
        Kind.SUBMIT, session, results, [{**OPTIONS, field: bad}], tasks, payloads
    )
    assert (kind, code) == (Kind.REFUSED, "INVALID_ARGUMENT")
    assert field in text
    assert traces(serving) == before


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((), "SUBMIT"),
        (("session",), "SUBMIT"),
        (("session", 1, 2, 3, 4), "SUBMIT.results"),
        (("session", [], [], [], [["id"]]), "SUBMIT.payloads[0]"),
        (("session", [], [], [], [["id", "text"]]), "SUBMIT.payloads[0].data"),
        (("session", [], [], [], [["id", ["path", -1]]]), "SUBMIT.payloads[0].data.size"),
        (("session", [], [], [], [["id", ["path", HUGE]]]), "SUBMIT.payloads[0].data.size"),
        (("session", [], [], [["t", "p", [], [], -1]], []), "SUBMIT.tasks[0].options"),
        (("session", [], [], [["t", "p", "abc", [], 0]], []), "SUBMIT.tasks[0].dependencies"),
        (("session", [], [], [["t", "p", [], [], 0]], []), "SUBMIT.tasks"),
        (("session", [["id", "x" * 20_000]], [], [], []), "SUBMIT.results[0].name"),
        (("session", [["id", "name"]] * 100_001, [], [], []), "SUBMIT.results"),
    ],
)
def test_a_refusal_names_the_field(stream: RawStream, arguments: Any, field: str) -> None:
    kind, code, text, _ = stream.request(Kind.SUBMIT, *arguments)
    assert (kind, code) == (Kind.REFUSED, "INVALID_ARGUMENT")
    assert text.startswith(field)


NONSENSE: list[Any] = [
    (),
    (5,),
    (None,),
    ("text",),
    ([5],),
    ([["nested"]],),
    ([None, "id"],),
    ({"a": 1},),
    (["id"] * 100_001,),
    (["id"], "more"),
]


@pytest.mark.parametrize("arguments", NONSENSE, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize(
    "kind", [Kind.FETCH, Kind.POLL, Kind.FAILURES, Kind.DELETE, Kind.CANCEL, Kind.WATCH, Kind.HELLO]
)
def test_nonsense_is_answered(stream: RawStream, kind: Kind, arguments: Any) -> None:
    answer = stream.request(kind, *arguments)
    if (kind, arguments) == (Kind.WATCH, ("text",)):
        assert answer[:2] == [Kind.REFUSED, "NOT_FOUND"]
    else:
        assert answer[:2] == [Kind.REFUSED, "INVALID_ARGUMENT"]
    assert answer[2]


def test_unknown_ids_are_answered(stream: RawStream) -> None:
    ids = ["unknown", "../x", "a\nb", ""]
    assert stream.request(Kind.FETCH, ids) == [Kind.OK, [None] * 4]
    assert stream.request(Kind.FAILURES, ids) == [Kind.OK, []]
    assert [change[:2] for change in stream.request(Kind.POLL, ids)[1]] == [[i, 4] for i in ids]
    assert stream.request(Kind.DELETE, ids) == [Kind.OK, None]
    assert stream.request(Kind.CANCEL, ids) == [Kind.OK, None]


@pytest.mark.parametrize("kind", [-1, 0, 1, 2, 11, HUGE, "FETCH", None, 6.0, [6]])
def test_an_unknown_kind_is_answered_by_its_number(stream: RawStream, kind: Any) -> None:
    answer = stream.request(kind, ["id"])
    assert answer[:2] == [Kind.REFUSED, "INVALID_ARGUMENT"]


@pytest.mark.parametrize(
    "message",
    [
        b"\xc1",
        b"\x93\x01\x05",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 2000,
        b"\xa2\xff\xfe",
        b"plain text",
        msgpack.packb([-1, Kind.POLL, []]),
        msgpack.packb(["1", Kind.POLL, []]),
        msgpack.packb([]),
        msgpack.packb({"a": 1}),
        msgpack.packb([True, Kind.POLL, []]),
    ],
)
def test_what_has_no_number_ends_its_own_stream_only(
    serving: Serving, session: str, stream: RawStream, door: str, message: bytes
) -> None:
    other = open_stream(serving, door)
    other.send(message)
    assert other.end() is grpc.StatusCode.INVALID_ARGUMENT
    assert stream.request(Kind.SUBMIT, session, *names(os.urandom(4).hex())) == [Kind.OK, None]


def test_a_malformed_request_does_not_stop_those_around_it(session: str, stream: RawStream) -> None:
    stream.send_frames([7, Kind.POLL, []], [8, Kind.FETCH, 5], [9, 99], [10, Kind.FETCH, []])
    answers = {}
    while len(answers) < 4:
        number, kind, *_ = stream.receive()
        answers[number] = kind
    assert answers == {7: Kind.OK, 8: Kind.REFUSED, 9: Kind.REFUSED, 10: Kind.OK}


def test_a_session_is_watched_once_and_only_if_it_exists(
    serving: Serving, session: str, stream: RawStream
) -> None:
    for _ in range(5):
        assert stream.request(Kind.WATCH, session) == [Kind.OK, None]
    assert stream.request(Kind.WATCH, "unknown")[1] == "NOT_FOUND"

    async def watched() -> dict[str, int]:
        # Of these two: who watched another session may be on his way out still.
        found = serving.server.engine._watchers._results
        return {name: len(found.get(name, ())) for name in (session, "unknown")}

    assert serving.run(watched()) == {session: 1, "unknown": 0}


@pytest.mark.parametrize("what", ["outside", "up", "link", "pipe", "directory", "size", "nul"])
def test_only_plain_files_in_the_staging_directory_are_taken(
    serving: Serving, session: str, stream: RawStream, door: str, tmp_path: Path, what: str
) -> None:
    staging = Path(serving.server.engine.objects.staging)
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    path = staging / f"client-{door}-{what}"
    size = 6
    if what == "outside":
        path = secret
    elif what == "up":
        path = staging / ".." / "journal.db"
        size = path.stat().st_size
    elif what == "link":
        path.symlink_to(secret)
    elif what == "pipe":
        os.mkfifo(path)
        size = 0
    elif what == "directory":
        path.mkdir()
        size = path.stat().st_size
    elif what == "size":
        path.write_bytes(b"longer than told")
    text = f"{staging}/a\0b" if what == "nul" else str(path)
    before = traces(serving)
    results = [[f"{what}-r", "output/x"]]
    answer = stream.request(Kind.SUBMIT, session, results, [], [], [[f"{what}-r", [text, size]]])
    assert answer[:2] == [Kind.REFUSED, "INVALID_ARGUMENT"]
    assert traces(serving) == before
    assert secret.read_bytes() == b"secret"


def test_what_was_accepted_is_listed_also_after_a_restart(tmp_path: Path) -> None:
    extreme = {
        "max_duration": 315_576_000_000.0,
        "max_retries": 2**31 - 1,
        "priority": 1,
        "partition_id": "default",
        "application_name": "na\0me\n",
        "options": {"k\ney": "\0", "": "\u2028\U0001f600"},
    }
    results, _, _, payloads = names("x")
    results[1][1] = "output/\0\n\u2028"
    tasks = [["x-t", "x-p", [], ["x-o"], 0]]
    for start in range(2):
        with serve(tmp_path / "state") as serving:
            if not start:
                session = ArmoniKSessions(serving.channel).create_session(task_options())
                raw = RawStream(serving.channel)
                raw.greet()
                answer = raw.request(Kind.SUBMIT, session, results, [extreme], tasks, payloads)
                assert answer == [Kind.OK, None]
                raw.close()
            _, found = ArmoniKTasks(serving.channel).list_tasks()
            assert [task.options.options for task in found] == [extreme["options"]]
            _, listed = ArmoniKResults(serving.channel).list_results()
            assert {result.name for result in listed} == {"payload/", "output/\0\n\u2028"}


def test_a_client_that_goes_cancels_nobody_elses_commit(tmp_path: Path, door: str) -> None:
    """The future of a commit is shared by all who wait for it."""
    with serve(tmp_path / "state") as serving:
        session = ArmoniKSessions(serving.channel).create_session(task_options())
        engine = serving.server.engine
        staying = open_stream(serving, door)
        staying.greet()
        for turn in range(20):
            leaving = open_stream(serving, door)
            leaving.greet()
            staying.send_frames([turn, Kind.SUBMIT, session, *names(f"turn-{turn}")])
            leaving.send_frames(*([number, Kind.POLL, ["x"]] for number in range(50)))
            leaving.close()
            assert staying.receive() == [turn, Kind.OK, None]
        staying.close()
        assert not engine.failed.done()


def test_a_number_that_is_used_twice_is_answered_twice(session: str, stream: RawStream) -> None:
    submission = names(os.urandom(4).hex())
    stream.send_frames(*[[3, Kind.SUBMIT, session, *submission]] * 2)
    assert [stream.receive(), stream.receive()] == [[3, Kind.OK, None]] * 2


@pytest.mark.parametrize("what", ["results", "options", "tasks", "payloads"])
def test_a_submission_that_others_would_wait_for_is_refused(
    serving: Serving, session: str, stream: RawStream, what: str
) -> None:
    """Whatever one frame holds is done in one go. A client says it in several."""
    before = traces(serving)
    submission = dict(zip(("results", "options", "tasks", "payloads"), names("many"), strict=True))
    most = {"results": FRAME_RESULTS, "payloads": FRAME_RESULTS}.get(what, FRAME_TASKS)
    submission[what] = submission[what][:1] * (most + 1)
    kind, code, text, _ = stream.request(Kind.SUBMIT, session, *submission.values())
    assert (kind, code) == (Kind.REFUSED, "INVALID_ARGUMENT")
    assert text == f"SUBMIT.{what} has {most + 1} entries: at most {most} are taken"
    for asking in (Kind.FETCH, Kind.POLL, Kind.FAILURES, Kind.DELETE, Kind.CANCEL):
        kind, _, text, _ = stream.request(asking, ["x"] * (FRAME_ASKED + 1))
        assert (kind, text[-15:]) == (Kind.REFUSED, "10000 are taken")
    assert traces(serving) == before


def test_others_have_their_turn_between_the_frames_of_a_message(
    serving: Serving, session: str, stream: RawStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many came together; they are taken in their order."""
    monkeypatch.setattr(connection, "TURN", 0.0)
    turns = [0]
    taken: list[tuple[int, int]] = []

    def count() -> None:
        turns[0] += 1
        if len(taken) < 20:
            asyncio.get_running_loop().call_soon(count)

    take = Connection._take

    def watched(self: Connection, frame: Any) -> None:
        if not taken:
            asyncio.get_running_loop().call_soon(count)
        taken.append((frame[0], turns[0]))
        take(self, frame)

    monkeypatch.setattr(Connection, "_take", watched)
    identifier = os.urandom(4).hex()
    stream.send_frames(
        *([n, Kind.SUBMIT, session, *names(f"{identifier}-{n}")] for n in range(1, 21))
    )
    assert [stream.receive()[0] for _ in range(20)] == [*range(1, 21)]
    assert [number for number, _ in taken] == [*range(1, 21)]
    assert len({turn for _, turn in taken}) == 20


def test_a_message_of_very_many_small_parts_is_refused(
    serving: Serving, stream: RawStream, door: str
) -> None:
    """Read, it would take sixty times the bytes that it has."""
    before = traces(serving)
    lists = b"".join(b"\xdd" + (900_000).to_bytes(4, "big") + b"\x90" * 900_000 for _ in range(5))
    stream.send(b"\x93\x07" + bytes([Kind.POLL]) + b"\x95" + lists)
    assert stream.end() is grpc.StatusCode.INVALID_ARGUMENT
    assert traces(serving) == before
    other = open_stream(serving, door)
    other.greet()
    other.close()
