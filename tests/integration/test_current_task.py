"""What a task knows of itself, and what an attempt leaves to the next one."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, CurrentTask, current_task, task
from armoflow.errors import NoTaskError, OptionError, SerializationError, WorkerDiedError
from tests.faults.scripts import wait_for


@task
def facts() -> tuple[str, str, int | None, int]:
    here = current_task()
    return here.id, here.label, here.item, here.attempt


@task
def label(number: int) -> str:
    return current_task().label


@task
def following(before: str) -> tuple[str, str]:
    return before, current_task().label


@task(timeout=60)
def seconds_left() -> float:
    deadline = current_task().deadline
    assert deadline is not None
    return deadline - time.time()


@task
def from_a_thread() -> list[str]:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(current_task().label))
    thread.start()
    thread.join()
    return found


@task(batch_size=4)
def in_a_batch(number: int) -> str:
    return current_task().label


@task
def returned(depth: int) -> Any:
    return returned(depth - 1) if depth else current_task().name


@task(retries=2, backoff=0)
def raising(stop: int) -> tuple[int, list[int]]:
    here = current_task()
    steps: list[int] = here.last_checkpoint([])
    while len(steps) < stop:
        steps.append(here.attempt)
        here.checkpoint(steps)
        if len(steps) % 2 == 0:
            raise OSError("lost")
    return here.attempt, steps


raising_in_a_batch = raising.with_options(batch_size=3, backoff=0.3)


@task(crash_retries=2)
def dying(stop: int) -> list[int]:
    here = current_task()
    steps: list[int] = here.last_checkpoint([])
    while len(steps) < stop:
        steps.append(os.getpid())
        here.checkpoint(steps)
        if len(steps) < stop and len(steps) % 2 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return steps


@task(crash_retries=0)
def poisoned() -> None:
    current_task().checkpoint(bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)


@task
def kept_in() -> str:
    current_task().checkpoint(0)
    path: str = current_task().checkpoints._directory  # type: ignore[attr-defined]
    return path


@task
def unpicklable() -> None:
    current_task().checkpoint(threading.Lock())


@task
def waiting(begun: str) -> None:
    current_task().checkpoint("begun")
    Path(begun).touch()
    time.sleep(600)


def test_a_task_knows_itself(client: Client) -> None:
    id, name, item, attempt = client.compute(facts())
    assert id and (name, item, attempt) == ("facts", None, 1)
    assert client.compute(label.map(range(3))) == ["label[0]", "label[1]", "label[2]"]
    assert client.compute(in_a_batch.map(range(6))) == [f"in_a_batch[{n}]" for n in range(6)]
    assert client.compute(following(label(1))) == ("label", "following")
    assert client.compute(returned(3)) == "returned"
    assert 0 < client.compute(seconds_left()) <= 60
    assert client.compute(from_a_thread()) == ["from_a_thread"]


def test_a_thread_knows_it_in_the_debug_mode_too() -> None:
    with Client(local=True) as local:
        assert local.compute(from_a_thread()) == ["from_a_thread"]
    with pytest.raises(NoTaskError):
        current_task()


def test_outside_of_tasks_there_is_none() -> None:
    with pytest.raises(NoTaskError, match="none runs here"):
        current_task()


def test_a_further_attempt_begins_where_the_one_before_was(client: Client) -> None:
    assert client.compute(raising(5)) == (3, [1, 1, 2, 2, 3])
    assert client.submit(raising(3)).result() == (2, [1, 1, 2])
    several = client.compute(raising_in_a_batch.map([1, 3, 5]))
    assert several == [(1, [1]), (2, [1, 1, 2]), (3, [1, 1, 2, 2, 3])]


def test_a_checkpoint_outlives_its_process(client: Client) -> None:
    processes = client.compute(dying(5))
    assert len(processes) == 5 and len(set(processes)) == 3
    assert processes[0] == processes[1] != processes[2] == processes[3]


def test_checkpoints_go_when_their_task_ends(client: Client, tmp_path: Path) -> None:
    folder = Path(client.compute(kept_in()))

    def none_is_left() -> bool:
        return not list(folder.iterdir())

    wait_for(none_is_left, "the checkpoint of a task that succeeded stays")
    with pytest.raises(WorkerDiedError):
        client.compute(poisoned())
    client.compute(dying(3))
    client.compute(raising_in_a_batch.map([3, 5]))
    wait_for(none_is_left, "the checkpoint of a task that died stays")


@pytest.mark.parametrize("engine", ["embedded"], indirect=True)  # elsewhere it is not ended
def test_the_checkpoint_of_a_cancelled_task_goes(client: Client, tmp_path: Path) -> None:
    folder = Path(client.compute(kept_in()))
    future = client.submit(waiting(str(begun := tmp_path / "begun")))
    wait_for(begun.exists, "the task does not begin")
    assert future.cancel()
    wait_for(lambda: not list(folder.iterdir()), "the checkpoint of a cancelled task stays")


def test_what_cannot_be_pickled_is_refused(client: Client) -> None:
    with pytest.raises(SerializationError, match="lock"):
        client.compute(unpicklable())


def test_the_debug_mode_tells_the_same() -> None:
    with Client(local=True) as client:
        assert client.compute(facts()) == ("local", "facts", None, 1)
        assert client.compute(label.map(range(2))) == ["label[0]", "label[1]"]
        assert client.compute(raising(5)) == (3, [1, 1, 2, 2, 3])
        assert client.compute(following(label(1))) == ("label", "following")


@task(retries=2, timeout=50)
def own_options() -> tuple[int | None, float | None]:
    options = current_task().options
    return options.retries, options.timeout


@task
def called_inside() -> Any:
    return own_options.with_options(retries=1)()


@task(timeout=60)
def own_options_of(number: int) -> float | None:
    return current_task().options.timeout


def check_options(client: Client) -> None:
    assert client.compute(own_options()) == (2, 50)
    assert client.submit(own_options.with_options(retries=3)).result() == (3, 50)
    assert client.compute(called_inside()) == (1, 50)
    assert client.compute(own_options_of.map(range(3))) == [60, 60, 60]


def test_a_task_knows_its_options(client: Client) -> None:
    check_options(client)


def test_a_task_knows_its_options_in_the_debug_mode() -> None:
    with Client(local=True) as client:
        check_options(client)


@task
def telling(steps: int) -> int:
    for step in range(steps):
        current_task().progress(step / steps, f"step {step}\nof {steps}")
    current_task().progress(1.0)
    return steps


@task
def telling_wrongly(done: Any, text: Any) -> None:
    current_task().progress(done, text)


def check_progress(client: Client) -> None:
    assert client.compute(telling(1000)) == 1000
    assert client.compute(telling.map([1, 2, 3])) == [1, 2, 3]
    for done in (40, -0.1, float("nan"), True, "0.4"):
        with pytest.raises(OptionError, match="from 0 to 1, not"):
            client.compute(telling_wrongly(done, ""))
    with pytest.raises(OptionError, match="a text to show, not 3"):
        client.compute(telling_wrongly(0.5, 3))


def test_a_task_tells_how_far_it_is(client: Client) -> None:
    check_progress(client)


def test_a_task_tells_how_far_it_is_in_the_debug_mode(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "armoflow.progress")
    with Client(local=True) as client:
        check_progress(client)
    assert caplog.messages[0] == "0% step 0 of 1000"


@task
def half_way(number: int, go_on: str) -> int:
    current_task().progress(0.25 * number, f"page {number}")
    wait_for(Path(go_on).exists, "the test does not go on")
    return number


def test_who_watches_sees_how_far_items_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go_on = tmp_path / "go_on"
    with Client(workers=2, progress=True, logs=True) as client:
        futures = [client.submit(half_way(number, str(go_on))) for number in (1, 2)]
        counts = client._backend.counts

        def told() -> bool:
            count = counts()["half_way"]
            return count.part == 0.75 and count.told in {"25% page 1", "50% page 2"}

        wait_for(told, "nobody sees how far the tasks are")
        assert "page" in client._repr_html_() and 'value="0.3750"' in client._repr_html_()
        go_on.touch()
        assert [future.result() for future in futures] == [1, 2]
        assert counts()["half_way"].part == 0
    assert "page" not in capsys.readouterr().out  # it is no output


def test_its_logger_has_the_tasks_name() -> None:
    here = CurrentTask("id", "session", "load", 3, 1, None, None, None)  # type: ignore[arg-type]
    assert here.logger is logging.getLogger("load") and here.label == "load[3]"
