"""Restart: rebuilt from what the changes journalled. Numbers are conformance statements."""

from __future__ import annotations

import pytest
from state_driver import Driver, effects, told

from armoflow.engine.records import ApiOptions, NewTask


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.session()
    return driver


def test_waiting_tasks_wait_on(driver: Driver) -> None:
    driver.task("a")
    driver.task("b", needs=["a.out"], uploaded=False)
    driver.crash()
    assert driver.status("b") == "PENDING"
    driver.run("a")
    assert driver.complete("a").ready == []
    assert [ready.id for ready in driver.upload("b.payload").ready] == ["b"]


def test_queued_tasks_are_ready_again_in_their_order(driver: Driver) -> None:
    for name in ("a", "b", "parent"):
        driver.task(name)
    driver.run("parent")
    kid = NewTask("kid", "made", (), ("parent.out",))
    driver.complete("parent", "made", created=["made"], children=[kid])
    changes = driver.crash()
    assert [ready.id for ready in changes.ready] == ["kid", "a", "b"]
    assert changes.events == []
    later = driver.task("later")
    assert later.order > driver.state.tasks["b"].order


def test_114_a_running_task_is_retried(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    changes = driver.crash()
    assert driver.status("t") == "RETRIED"
    assert [ready.id for ready in changes.ready] == ["t###1"]
    assert driver.state.results["t.out"].owner_task_id == "t###1"


def test_114_or_fails_if_it_has_no_retry_left(driver: Driver) -> None:
    driver.task("t", options=ApiOptions(max_retries=-1))
    driver.task("after", needs=["t.out"])
    driver.run("t")
    driver.crash()
    assert driver.status("t") == "ERROR"
    assert "the engine stopped" in driver.state.tasks["after"].error


def test_115_committed_children_run_once(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    kid = NewTask("kid", "made", (), ("t.out",))
    driver.complete("t", "made", created=["made"], children=[kid])
    changes = driver.crash()
    assert "t" not in driver.state.tasks
    assert [ready.id for ready in changes.ready] == ["kid"]


def test_116_a_dispatched_task_is_queued_without_a_retry(driver: Driver) -> None:
    driver.task("t")
    driver.do("acquire", "t", "agent")
    changes = driver.crash()
    assert told(changes) == ["t SUBMITTED"]
    assert driver.state.tasks["t"].owner == ""


def test_a_task_that_was_being_cancelled_is_cancelled(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    driver.do("cancel_tasks", ["t"])
    assert told(driver.crash()) == ["t CANCELLED"]


def test_held_tasks_stay_held(driver: Driver) -> None:
    driver.task("t")
    driver.do("pause_session", "s")
    driver.crash()
    assert driver.status("t") == "PAUSED"
    assert [ready.id for ready in driver.do("resume_session", "s").ready] == ["t"]


def test_tasks_of_a_cancelled_session_that_ran_are_cancelled(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    driver.do("cancel_session", "s")
    driver.crash()
    assert driver.status("t") == "CANCELLED"


def test_a_running_task_of_a_closed_session_is_not_run_again(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    driver.do("close_session", "s")
    driver.crash()
    assert driver.status("t###1") == "CANCELLED"
    assert driver.result_status("t.out") == "ABORTED"


def test_what_waits_for_lost_or_aborted_inputs_ends_in_error(driver: Driver) -> None:
    """A journal that was written by hand, or by another version: nothing may hang."""
    driver.results("r")
    driver.task("aborted", needs=["r"])
    driver.data("q")
    driver.task("open")
    driver.task("lost", needs=["q", "open.out"])
    driver.journal.results["r"].status = 3
    del driver.journal.results["q"]
    driver.journal.results["open.out"].status = 2
    driver.crash()
    assert driver.status("aborted") == "ERROR"
    assert driver.status("lost") == "ERROR"


def test_agents_of_before_are_not_heard(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    driver.crash()
    changes = driver.do("complete_task", "t", *effects(["t.out"]))
    assert changes.deleted == [b"object of t.out"]
    assert driver.status("t###1") == "SUBMITTED"


def test_a_state_in_use_takes_no_journal(driver: Driver) -> None:
    with pytest.raises(ValueError, match="still empty"):
        driver.do("restore", [], {}, {})
