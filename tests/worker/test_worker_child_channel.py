"""When a child sends what its tasks have to say."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from armoflow.worker.child_channel import HOLD_NANOSECONDS, Outbox
from armoflow.worker.mark import HANDS, HANDS_BUSY, HANDS_FREE, Mark, create_mark_file

STARTED = 10**12


@pytest.fixture
def mark() -> Iterator[Mark]:
    made = Mark(create_mark_file("/tmp"))
    yield made
    made.close()


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def outbox_with(mark: Mark, channel: socket.socket, *messages: bytes) -> Outbox:
    outbox = Outbox(channel, mark)
    for number, message in enumerate(messages):
        outbox.put(message, STARTED + number)
    return outbox


def test_ends_of_quick_tasks_wait_for_each_other(
    mark: Mark, channel: tuple[socket.socket, socket.socket]
) -> None:
    owner, child = channel
    outbox = outbox_with(mark, child, b"one", b"two")
    mark.words[HANDS] = HANDS_BUSY
    assert outbox.waiting and not outbox.is_due(STARTED + HOLD_NANOSECONDS)
    assert mark.unsent() == b"onetwo"  # the owner may look, should the next one take long
    outbox.flush()
    assert owner.recv(100) == b"onetwo"
    assert not outbox.waiting


def test_the_end_of_a_task_that_took_long_does_not_wait(
    mark: Mark, channel: tuple[socket.socket, socket.socket]
) -> None:
    outbox = outbox_with(mark, channel[1], b"one", b"two")
    mark.words[HANDS] = HANDS_BUSY
    assert outbox.is_due(STARTED + HOLD_NANOSECONDS + 1)


def test_no_end_waits_where_another_process_has_nothing_to_do(
    mark: Mark, channel: tuple[socket.socket, socket.socket]
) -> None:
    outbox = outbox_with(mark, channel[1], b"one")
    mark.words[HANDS] = HANDS_FREE
    assert outbox.is_due(STARTED + 1)
