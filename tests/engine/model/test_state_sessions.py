"""Sessions: what each command does, and its refusals. Numbers are conformance statements."""

from __future__ import annotations

import pytest
from state_driver import OPTIONS, Driver, effects, refused, told

from armoflow.engine.records import ApiOptions, NewTask


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.session()
    return driver


def test_01_a_new_session_is_running_and_takes_submissions(driver: Driver) -> None:
    session = driver.state.sessions["s"]
    assert session.status.name == "RUNNING"
    assert session.client_submission
    assert session.worker_submission
    assert session.created_at == 1.0
    assert (
        session.closed_at is session.cancelled_at is session.purged_at is session.duration is None
    )


@pytest.mark.parametrize(
    "options",
    [
        ApiOptions(max_duration=1.0, max_retries=0, priority=1),
        ApiOptions(max_duration=1.0, max_retries=-1, priority=1),
        ApiOptions(max_duration=1.0, max_retries=1, priority=0),
        ApiOptions(max_duration=1.0, max_retries=1, priority=100),
        ApiOptions(max_duration=0.0, max_retries=1, priority=1),
    ],
)
def test_03_04_05_default_options_out_of_range_are_refused(
    driver: Driver, options: ApiOptions
) -> None:
    with refused("INVALID_ARGUMENT"):
        driver.session("other", options)
    assert "other" not in driver.state.sessions


def test_04_priorities_1_and_99_pass(driver: Driver) -> None:
    for priority in (1, 99):
        driver.session(
            f"p{priority}", ApiOptions(max_duration=1.0, max_retries=1, priority=priority)
        )


@pytest.mark.parametrize("partitions", [(), ("",)])
def test_06_09_no_partition_means_the_default_one(driver: Driver, partitions: tuple[str]) -> None:
    session = driver.session("other", partitions=partitions)
    assert session.partition_ids == ("default",)
    assert session.options.partition_id == "default"


def test_07_08_unknown_partitions_are_refused_by_name(driver: Driver) -> None:
    with refused("NOT_FOUND") as caught:
        driver.session("other", partitions=["default", "gpu"])
    assert "'gpu'" in str(caught.value)
    assert "'default', 'other'" in str(caught.value)
    with refused("NOT_FOUND"):
        driver.session("other", ApiOptions(1.0, 1, 1, partition_id="gpu"))
    assert "other" not in driver.state.sessions


@pytest.mark.parametrize(
    "command",
    ["cancel_session", "pause_session", "resume_session", "close_session", "purge_session"],
)
def test_10_commands_on_an_unknown_session_are_refused(driver: Driver, command: str) -> None:
    with refused("NOT_FOUND"):
        driver.do(command, "nobody")
    with refused("NOT_FOUND"):
        driver.do("stop_submission", "nobody", True, True)


def test_11_deleting_an_unknown_session_is_no_error(driver: Driver) -> None:
    assert driver.do("delete_session", "nobody").removed_sessions == ["nobody"]


def test_12_pause_and_resume(driver: Driver) -> None:
    driver.do("pause_session", "s")
    assert driver.state.sessions["s"].status.name == "PAUSED"
    with refused("FAILED_PRECONDITION"):
        driver.do("pause_session", "s")
    driver.do("resume_session", "s")
    driver.do("resume_session", "s")
    assert driver.state.sessions["s"].status.name == "RUNNING"


def test_13_close_ends_submission_and_says_how_long_it_lasted(driver: Driver) -> None:
    driver.do("close_session", "s")
    session = driver.state.sessions["s"]
    assert (session.status.name, session.closed_at, session.duration) == ("CLOSED", 2.0, 1.0)
    assert not session.client_submission
    assert not session.worker_submission
    with refused("FAILED_PRECONDITION"):
        driver.do("close_session", "s")


def test_14_a_closed_session_can_be_cancelled_a_cancelled_one_not(driver: Driver) -> None:
    driver.do("close_session", "s")
    driver.do("cancel_session", "s")
    assert driver.state.sessions["s"].status.name == "CANCELLED"
    with refused("FAILED_PRECONDITION"):
        driver.do("cancel_session", "s")


def test_15_16_purge_needs_a_closed_session_and_deletes_nothing_before(driver: Driver) -> None:
    driver.data("r")
    with refused("FAILED_PRECONDITION"):
        driver.do("purge_session", "s")
    assert driver.result_status("r") == "COMPLETED"
    driver.do("close_session", "s")
    driver.do("purge_session", "s")
    assert driver.state.sessions["s"].purged_at == 5.0
    assert driver.result_status("r") == "DELETED"
    with refused("FAILED_PRECONDITION"):
        driver.do("purge_session", "s")


@pytest.mark.parametrize("command", ["pause_session", "resume_session"])
@pytest.mark.parametrize(("strict", "code"), [(False, "FAILED_PRECONDITION"), (True, "UNKNOWN")])
def test_17_pause_and_resume_of_a_closed_session(command: str, strict: bool, code: str) -> None:
    driver = Driver(strict=strict)
    driver.session()
    driver.do("close_session", "s")
    with refused(code):
        driver.do(command, "s")


def test_18_19_stop_submission(driver: Driver) -> None:
    session = driver.state.sessions["s"]
    driver.do("stop_submission", "s", False, False)
    assert session.client_submission
    driver.do("stop_submission", "s", True, False)
    assert not session.client_submission
    assert session.worker_submission
    assert session.status.name == "RUNNING"
    driver.data("p")
    with refused("FAILED_PRECONDITION"):
        driver.submit(NewTask("t", "p", (), ()))


def test_20_delete_removes_everything_and_stops_what_runs(driver: Driver) -> None:
    driver.task("running")
    driver.task("queued")
    driver.task("waiting", uploaded=False)
    driver.run("running")
    running = driver.state.tasks["running"]
    changes = driver.do("delete_session", "s")
    assert changes.interrupted == [running]
    assert changes.removed_sessions == ["s"]
    assert sorted(changes.deleted) == [b"object of queued.payload", b"object of running.payload"]
    assert changes.events == []
    assert not (driver.state.sessions or driver.state.tasks or driver.state.results)


def test_what_an_agent_reports_of_a_deleted_session_changes_nothing(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    driver.do("delete_session", "s")
    assert driver.do("complete_task", "t", *effects(["t.out"])).deleted == [b"object of t.out"]
    for command in ("fail_task", "release"):
        arguments = ("t", "boom") if command == "fail_task" else ("t",)
        changes = driver.do(command, *arguments)
        assert not (changes.tasks or changes.events)
    assert not driver.do("stopped", ["t"]).tasks
    assert not driver.do("cancel_tasks", ["t"]).tasks


@pytest.mark.parametrize("end", ["cancel", "delete", "purge"])
def test_ending_a_session_ends_what_waits_for_it_elsewhere(driver: Driver, end: str) -> None:
    driver.session("other")
    driver.results("r")
    driver.task("t", needs=["r"], session="other")
    driver.task("after", needs=["t.out"], session="other")
    if end == "purge":
        driver.do("close_session", "s")
        assert driver.status("t") == "PENDING"
    driver.do(f"{end}_session", "s")
    assert driver.status("t") == "ERROR"
    assert driver.status("after") == "ERROR"
    assert f"session s was {end.removesuffix('e')}" in driver.state.tasks["after"].error


def test_47_manual_results_survive_purge_and_their_data_deletion(driver: Driver) -> None:
    driver.data("kept", manual=True)
    driver.data("gone")
    driver.do("close_session", "s")
    changes = driver.do("purge_session", "s")
    assert driver.result_status("kept") == "COMPLETED"
    assert changes.deleted == [b"object of gone"]
    assert driver.do("delete_session", "s").deleted == []


def test_110_cancel_aborts_results_and_cancels_every_task(driver: Driver) -> None:
    driver.task("running")
    driver.task("after", needs=["running.out"])
    driver.task("queued")
    driver.run("running")
    changes = driver.do("cancel_session", "s")
    assert [task.id for task in changes.interrupted] == ["running"]
    assert driver.status("running") == "CANCELLING"
    assert driver.status("after") == "CANCELLED"
    assert driver.status("queued") == "CANCELLED"
    assert driver.result_status("running.out") == "ABORTED"
    assert driver.state.results["running.out"].completed_at is None
    assert driver.result_status("queued.payload") == "COMPLETED"
    driver.do("stopped", ["running"])
    assert driver.status("running") == "CANCELLED"
    assert not driver.state.sessions["s"].client_submission


def test_events_of_a_cancelled_session_come_results_first(driver: Driver) -> None:
    driver.task("t")
    assert told(driver.do("cancel_session", "s")) == [
        "t.out ABORTED",
        "t CANCELLING",
        "t CANCELLED",
    ]


def test_111_112_pause_holds_queued_tasks_and_resume_queues_them(driver: Driver) -> None:
    driver.task("queued")
    driver.task("prefetched")
    driver.task("running")
    driver.run("running")
    driver.do("acquire", "prefetched", "agent")
    changes = driver.do("pause_session", "s")
    assert [task.id for task in changes.interrupted] == ["prefetched"]
    assert driver.status("queued") == driver.status("prefetched") == "PAUSED"
    assert driver.status("running") == "PROCESSING"
    with refused("FAILED_PRECONDITION"):
        driver.do("start", "prefetched")
    assert driver.task("new").status.name == "PAUSED"
    driver.complete("running")
    urgent = driver.task("urgent", options=ApiOptions(priority=3))
    assert urgent.submitted_at is not None
    changes = driver.do("resume_session", "s")
    assert {task.id for task in changes.ready} == {"urgent", "queued", "prefetched", "new"}
    prefetched = driver.state.tasks["prefetched"]
    assert (prefetched.owner, prefetched.acquired_at) == ("", None)


def test_113_close_cancels_queued_tasks_and_lets_running_ones_finish(driver: Driver) -> None:
    driver.task("running")
    driver.task("queued")
    driver.task("after", needs=["queued.out"])
    driver.task("child_of_none", needs=["running.out"])
    driver.run("running")
    driver.do("close_session", "s")
    assert driver.status("queued") == "CANCELLED"
    assert driver.result_status("queued.out") == "ABORTED"
    assert driver.status("after") == "ERROR"
    assert driver.status("child_of_none") == "PENDING"
    driver.complete("running")
    assert driver.status("running") == "COMPLETED"
    assert driver.status("child_of_none") == "CANCELLED"
    assert driver.result_status("child_of_none.out") == "ABORTED"


def test_purge_leaves_nothing_waiting(driver: Driver) -> None:
    driver.task("running")
    driver.task("after", needs=["running.out"])
    driver.run("running")
    driver.do("close_session", "s")
    driver.do("purge_session", "s")
    assert driver.status("after") == "CANCELLED"
    changes = driver.complete("running")
    assert driver.status("running") == "COMPLETED"
    assert changes.deleted == [b"object of running.out"]
    assert driver.result_status("running.out") == "DELETED"


def test_a_session_id_is_taken_once(driver: Driver) -> None:
    with refused("ALREADY_EXISTS"):
        driver.session("s", OPTIONS)


def test_a_pause_holds_what_a_resume_in_slices_had_still_to_queue() -> None:
    driver = Driver(slice_size=1)
    driver.session()
    driver.do("pause_session", "s")
    for name in ("first", "second", "third"):
        driver.task(name)
    driver.do("resume_session", "s")
    paused = driver.do("pause_session", "s")
    assert all(task.status.name == "SUBMITTED" for task in paused.ready)


def test_strict_what_is_created_in_a_session_that_is_being_deleted_goes_with_it() -> None:
    driver = Driver(strict=True, slice_size=1)
    driver.session()
    driver.results("first", "second")
    driver.do("delete_session", "s")
    driver.results("late")
    while driver.state.unfinished:
        driver.do("go_on")
    assert not driver.state.results
    driver.results("of a session that is gone")
    assert list(driver.state.results) == ["of a session that is gone"]
