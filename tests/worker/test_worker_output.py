"""What tasks write: whose it is, and that it keeps nobody from anything."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import seats
import speakers
from seats import Seat, call, collection, items, output, record
from test_worker_supervisor import on_a_loop

from armoflow import config
from armoflow.agent.passages import (
    NOBODY,
    STDERR,
    STDOUT,
    Passages,
    Writer,
    close_mark,
    open_mark,
)
from armoflow.codec.payload import Operation, Settings
from armoflow.worker import output_reader
from armoflow.worker.environment import worker_environment
from armoflow.worker.output_reader import OutputReader

Line = tuple[str, str]


def seat(directory: Path) -> AbstractAsyncContextManager[Seat]:
    """A seat whose processes find the tasks."""
    path = str(Path(__file__).parent)
    return seats.seat(directory, environment={**worker_environment(), "PYTHONPATH": path})


def lines(host: Seat) -> list[Line]:
    """The lines that were written, with their items."""
    return [
        (passage.writer.name, line)
        for passage in host.passages
        for line in passage.text.split("\n")
    ]


@on_a_loop
async def test_all_that_a_task_writes_is_told_with_its_names(tmp_path: Path) -> None:
    async with seat(tmp_path / "seat") as host:
        (o,) = await host.run(call(speakers.speak))
        assert o.effects, o.error
        told = [(one.level, one.logger, one.text) for one in host.passages]
        assert told[0] == (STDOUT, "", "printed")
        assert told[1] == (logging.WARNING, "mine", "logged")
        assert told[2][0] == STDERR and "UserWarning: warned" in told[2][2]
        assert ("speak", "child") in lines(host) and ("speak", "raw") in lines(host)
        assert lines(host)[-1] == ("speak", "no end")
        assert {(one.writer.task_id, one.writer.session_id) for one in host.passages} == {
            ("task-0", "session")
        }


@on_a_loop
async def test_lines_have_the_item_that_wrote_them(tmp_path: Path) -> None:
    async with seat(tmp_path / "seat") as host:
        await host.run(collection(Operation.MAP, speakers.count, items(*range(6)), positions=10))
        assert lines(host) == [
            ("count[11]", "1"),
            ("count[13]", "3"),
            ("count[14]", "4"),
            ("count[15]", "5"),
        ]


@on_a_loop
async def test_what_a_running_task_writes_is_told_while_it_runs(tmp_path: Path) -> None:
    async with seat(tmp_path / "seat") as host:
        go = tmp_path / "go"
        work = host.work(call(speakers.write_slowly, str(go)))
        host.supervisor.send([work])
        await host.until(lambda: lines(host) == [("write_slowly", "begun")])
        assert not host.outcomes
        go.touch()
        await host.wait_for([work])


@on_a_loop
async def test_an_error_tells_the_last_lines(tmp_path: Path) -> None:
    async with seat(tmp_path / "seat") as host:
        (outcome,) = await host.run(call(speakers.fail_loudly, 1))
        told = record(outcome).output.split("\n")
        assert told == [f"line {number}" for number in range(10, 30)]
        assert "last output:\n  line 10\n" in str(record(outcome).cause())


@on_a_loop
async def test_an_error_of_an_item_tells_its_own_lines(tmp_path: Path) -> None:
    async with seat(tmp_path / "seat") as host:
        (outcome,) = await host.run(collection(Operation.MAP, speakers.fail_odd, items(*range(4))))
        told = output(outcome)
        assert [told[0], told[2]] == [0, 2]
        assert [told[1].output, told[3].output] == ["at 1", "at 3"]


@on_a_loop
async def test_an_error_of_a_dead_process_tells_its_last_lines(tmp_path: Path) -> None:
    async with seat(tmp_path / "seat") as host:
        for how in ("abort", "kill", "exit", "timeout"):
            settings = Settings(crash_retries=0, timeout=0.3 if how == "timeout" else None)
            (outcome,) = await host.run(call(speakers.die, how, settings=settings))
            told = record(outcome)
            assert told.kind == ("timeout" if how == "timeout" else "died")
            assert told.output.split("\n") == ["before the end", "and of a child"]
            assert ("Segmentation fault" in told.message) == (how == "abort")
        assert lines(host).count(("die", "before the end")) == 4


@on_a_loop
async def test_output_of_any_kind_does_no_harm(tmp_path: Path) -> None:
    kinds = ["binary", "endless", "closed", "stream", "replaced", "redirected", "marks", "daemon"]
    async with seat(tmp_path / "seat") as host:
        for kind in kinds:
            (outcome,) = await host.run(call(speakers.garble, kind))
            assert outcome.effects is not None, outcome.error
            host.passages.clear()
            (outcome,) = await host.run(call(speakers.speak))
            assert outcome.effects is not None, outcome.error
            await host.until(lambda: ("speak", "no end") in lines(host))
            assert ("speak", "printed") in lines(host), kind
            assert ("garble", "into nowhere") not in lines(host)
        assert await host.stop() == []


@on_a_loop
async def test_what_armoflow_says_of_a_task_has_its_name(tmp_path: Path) -> None:
    async with seat(tmp_path / "seat") as host:
        await host.run(call(speakers.leave_a_thread))
        await host.run(call(speakers.speak))
        said = [one for one in host.passages if one.logger == "armoflow"]
        assert [one.writer.name for one in said] == ["leave_a_thread"]
        assert "left threads running: left" in said[0].text


# --- the reader ---------------------------------------------------------------------------------

TOKEN = b"token"
MINE = Writer("task", "session", "f")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(config, "OUTPUT_BYTES_READ", 1000)
    monkeypatch.setattr(config, "OUTPUT_BYTES_KEPT", 10_000)
    monkeypatch.setattr(output_reader, "_TRIMMED", 5000)
    file = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield file
    os.close(file)


def read_all(reader: OutputReader) -> list[str]:
    told: list[str] = []
    while reader.behind:
        told += [line for one in reader.read() for line in one.text.split("\n")]
    return told


def test_the_file_is_shortened_once_it_was_read(file: int) -> None:
    reader = OutputReader(file, TOKEN)
    os.write(file, open_mark(TOKEN, MINE))
    told = []
    for start in range(0, 2000, 100):
        os.write(file, b"".join(b"%05d\n" % number for number in range(start, start + 100)))
        told += read_all(reader)
        assert os.fstat(file).st_size <= 5700
    assert told == [f"{number:05}" for number in range(2000)]


def test_what_comes_too_fast_is_left_out_and_counted(file: int) -> None:
    reader = OutputReader(file, TOKEN)
    os.write(file, open_mark(TOKEN, MINE))
    for _ in range(5):
        os.write(file, b"x" * 9_999 + b"\n")
    (told,) = read_all(reader)
    assert "bytes of output left out" in told
    assert [one.writer for one in reader.settle(MINE)] == [MINE]
    assert os.fstat(file).st_size == 0
    os.write(file, open_mark(TOKEN, MINE) + b"after\n")
    assert read_all(reader) == ["after"]


def test_a_file_that_somebody_shortened_is_read_from_its_beginning(file: int) -> None:
    reader = OutputReader(file, TOKEN)
    os.write(file, open_mark(TOKEN, MINE) + b"before\n" * 20)
    read_all(reader)
    os.ftruncate(file, 0)
    os.write(file, b"after\n")
    assert read_all(reader) == ["after"]


def test_a_file_that_cannot_be_shortened_is_read_on(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: int, length: int) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "ftruncate", refuse)
    reader = OutputReader(file, TOKEN)
    os.write(file, open_mark(TOKEN, MINE))
    for start in range(0, 2000, 100):
        new = [f"{number:05}" for number in range(start, start + 100)]
        os.write(file, "".join(f"{line}\n" for line in new).encode())
        assert read_all(reader) == new


def test_a_file_that_tells_nothing_is_asked_again(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    reader = OutputReader(file, TOKEN)
    os.write(file, open_mark(TOKEN, MINE) + b"line\n")
    with monkeypatch.context() as patched:
        patched.setattr(os, "lseek", refuse)
        assert not reader.behind
    assert read_all(reader) == ["line"]


def test_marks_and_lines_are_whole_wherever_a_read_ends(file: int) -> None:
    other = Writer("task", "session", "g[1]")
    data = b"".join(
        [
            *(b"loose\n", close_mark(TOKEN, MINE), open_mark(TOKEN, other, STDERR, "log")),
            *("\u00e9t\u00e9\n".encode(), b"\x1eno mark\n", b"10 %\r90 %\r\n", b"end"),
            *(close_mark(TOKEN, MINE), b"more"),
        ]
    )
    for size in range(1, 60):
        passages = Passages(TOKEN)
        told = [
            one
            for start in range(0, len(data), size)
            for one in passages.feed(data[start : start + size])
        ]
        told += passages.end(NOBODY)
        assert [(one.writer, one.level, line) for one in told for line in one.text.split("\n")] == [
            (MINE, STDOUT, "loose"),
            (other, STDERR, "\u00e9t\u00e9"),
            (other, STDERR, "\x1eno mark"),
            (other, STDERR, "90 %"),
            (other, STDERR, "end"),
            (NOBODY, STDOUT, "more"),
        ]
