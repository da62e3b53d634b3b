"""Execution: acquire, run, commit, fail, retry, cancel. Numbers are conformance statements."""

from __future__ import annotations

import pytest
from state_driver import Driver, effects, refused, stored, told

from armoflow.engine.records import ApiOptions, NewResult, NewTask, TaskStatus


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.session()
    return driver


def child(task_id: str, payload: str, needs=(), outputs=(), options=None) -> NewTask:
    return NewTask(task_id, payload, needs, outputs, options)


# --- acquiring ---


def test_acquire_and_start_step_by_step(driver: Driver) -> None:
    driver.task("t")
    assert told(driver.do("acquire", "t", "agent")) == ["t DISPATCHED"]
    assert told(driver.do("start", "t", "agent")) == ["t PROCESSING"]
    task = driver.state.tasks["t"]
    assert task.owner == "agent"
    assert (task.received_at, task.acquired_at, task.fetched_at, task.started_at) == (5, 5, 6, 6)


def test_97_a_task_is_acquired_by_one_agent(driver: Driver) -> None:
    driver.task("t")
    driver.do("acquire", "t", "first")
    with refused("FAILED_PRECONDITION"):
        driver.do("acquire", "t", "second")
    with refused("FAILED_PRECONDITION"):
        driver.do("start", "t", "second")
    assert not driver.run("t", owner="second").tasks
    with refused("NOT_FOUND"):
        driver.do("acquire", "unknown", "first")


def test_run_starts_many_and_skips_what_is_not_queued(driver: Driver) -> None:
    driver.task("a")
    driver.task("b")
    driver.task("waiting", uploaded=False)
    changes = driver.run("a", "waiting", "unknown", "b")
    assert list(changes.tasks) == ["a", "b"]
    assert told(changes) == ["a PROCESSING", "b PROCESSING"]


def test_94_a_task_whose_input_was_deleted_ends_in_error_without_retry(driver: Driver) -> None:
    driver.data("input")
    for name in ("a", "b", "c"):
        driver.task(name, needs=["input"])
    driver.task("open")
    driver.task("late", needs=["input", "open.out"])
    driver.run("open")
    driver.do("acquire", "c", "agent")
    driver.do("delete_results", ["input"])
    changes = driver.run("a")
    assert changes.tasks["a"].status is TaskStatus.ERROR
    driver.do("acquire", "b", "agent")
    assert driver.status("b") == "ERROR"
    assert "input" in driver.state.tasks["b"].error
    driver.do("start", "c")
    driver.fail("c", retry=True)
    assert driver.status("c") == "RETRIED"
    assert driver.status("c###1") == "ERROR"
    assert driver.result_status("c.out") == "ABORTED"
    driver.complete("open")
    assert driver.status("late") == "ERROR"


def test_95_96_a_released_task_is_queued_again_without_a_retry(driver: Driver) -> None:
    driver.task("t")
    for steps in (("acquire",), ("acquire", "start")):
        for step in steps:
            driver.do(step, "t", "agent")
        changes = driver.do("release", "t", "agent")
        assert [ready.id for ready in changes.ready] == ["t"]
        task = driver.state.tasks["t"]
        assert (task.owner, task.acquired_at, task.started_at, task.retry_of) == (
            "",
            None,
            None,
            (),
        )
    with refused("FAILED_PRECONDITION"):
        driver.do("release", "t", "agent")


def test_a_task_released_in_a_paused_session_is_held(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    driver.do("pause_session", "s")
    assert driver.do("release", "t").ready == []
    assert driver.status("t") == "PAUSED"


# --- success ---


def test_81_a_success_completes_its_outputs_and_queues_dependents(driver: Driver) -> None:
    driver.task("t")
    driver.task("after", needs=["t.out"])
    driver.run("t")
    changes = driver.complete("t")
    assert told(changes) == ["t.out COMPLETED", "after SUBMITTED", "t COMPLETED"]
    assert [ready.id for ready in changes.ready] == ["after"]
    task = driver.state.tasks["t"]
    assert (task.success, task.error, task.ended_at) == (True, "", driver.now)


def test_82_results_that_a_task_creates_name_it_and_have_no_owner(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    changes = driver.complete("t", "t.out", "made", created=["made", "empty"])
    assert told(changes)[:2] == ["new made CREATED", "new empty CREATED"]
    made = driver.state.results["made"]
    assert (made.status.name, made.created_by, made.owner_task_id) == ("COMPLETED", "t", "")
    assert driver.result_status("empty") == "CREATED"


def test_83_84_85_children_and_delegation_in_the_order_of_the_agent(driver: Driver) -> None:
    driver.task("parent")
    driver.task("after", needs=["parent.out"])
    driver.run("parent")
    kid = child("kid", "made", outputs=("parent.out",))
    changes = driver.complete("parent", "made", created=["made"], children=[kid])
    assert told(changes) == [
        *("new made CREATED", "made COMPLETED"),
        *("new kid CREATING", "parent.out -> kid", "kid PENDING", "kid SUBMITTED"),
        "parent COMPLETED",
    ]
    task = driver.state.tasks["kid"]
    assert (task.created_by, task.depth, task.initial_id) == ("parent", 2, "kid")
    assert driver.result_status("parent.out") == "CREATED"
    driver.run("kid")
    driver.complete("kid")
    assert driver.result_status("parent.out") == "COMPLETED"
    assert driver.status("after") == "SUBMITTED"


def test_children_may_need_results_and_outputs_of_each_other(driver: Driver) -> None:
    driver.task("parent")
    driver.run("parent")
    first = child("first", "made1", outputs=("made",))
    second = child("second", "made2", needs=("made",), outputs=("parent.out",))
    created = ["made", "made1", "made2"]
    driver.complete("parent", "made1", "made2", created=created, children=[first, second])
    assert driver.status("first") == "SUBMITTED"
    assert driver.status("second") == "PENDING"


def test_children_stand_in_front_of_everything_older(driver: Driver) -> None:
    for name in ("a", "b", "later"):
        driver.task(name)
    driver.run("a", "b")
    for parent in ("a", "b"):
        kids = [child(f"{parent}{n}", f"p{parent}{n}") for n in (1, 2)]
        created = [kid.payload_id for kid in kids]
        driver.complete(parent, f"{parent}.out", *created, created=created, children=kids)
    tasks = sorted(driver.state.tasks.values(), key=lambda task: task.order)
    queued = [task.id for task in tasks if task.status is TaskStatus.SUBMITTED]
    assert queued == ["b1", "b2", "a1", "a2", "later"]


def test_children_inherit_the_sessions_options_not_the_parents(driver: Driver) -> None:
    driver.task("t", options=ApiOptions(priority=5))
    driver.run("t")
    kid = child("kid", "made", options=ApiOptions(max_retries=7))
    driver.complete("t", "t.out", "made", created=["made"], children=[kid])
    options = driver.state.tasks["kid"].options
    assert (options.priority, options.max_retries) == (1, 7)


@pytest.mark.parametrize(
    ("kid", "code"),
    [
        (child("kid", "unknown"), "NOT_FOUND"),
        (child("kid", "made", needs=("aborted.out",)), "FAILED_PRECONDITION"),
        (child("kid", "made", outputs=("unknown",)), "NOT_FOUND"),
        (child("kid", "made", outputs=("aborted.out",)), "FAILED_PRECONDITION"),
        (child("kid", "made", options=ApiOptions(partition_id="gpu")), "INVALID_ARGUMENT"),
        (child("kid", "made", options=ApiOptions(priority=99)), "INVALID_ARGUMENT"),
        (child("other", "made"), "ALREADY_EXISTS"),
    ],
)
def test_a_commit_with_invalid_children_is_refused_whole(
    driver: Driver, kid: NewTask, code: str
) -> None:
    for name in ("t", "other", "aborted"):
        driver.task(name)
    driver.do("cancel_tasks", ["aborted"])
    driver.run("t")
    commit = effects(["t.out", "made"], ["made"], [kid])
    with refused(code):
        driver.do("complete_task", "t", *commit)
    assert driver.status("t") == "PROCESSING"
    assert "made" not in driver.state.results
    assert driver.result_status("t.out") == "CREATED"
    changes = driver.do("complete_tasks", [("t", *commit)])
    assert sorted(changes.deleted) == [b"object of made", b"object of t.out"]
    assert driver.status("t") == "RETRIED"
    assert driver.status("t###1") == "SUBMITTED"


def test_a_child_produces_what_another_task_owns(driver: Driver) -> None:
    driver.task("other")
    driver.task("t")
    driver.run("t")
    kid = child("kid", "made", outputs=("other.out",))
    driver.do("complete_task", "t", *effects(["t.out", "made"], ["made"], [kid]))
    assert driver.state.results["other.out"].owner_task_id == "other"
    driver.run("kid")
    driver.complete("kid", "other.out")
    assert driver.result_status("other.out") == "COMPLETED"
    driver.run("other")
    assert driver.complete("other", "other.out").deleted == [b"object of other.out"]


def test_of_parent_and_child_that_both_produce_an_output_the_child_counts(driver: Driver) -> None:
    driver.task("t")
    driver.task("after", needs=["t.out"])
    driver.run("t")
    kids = [child(name, "made", outputs=("t.out",)) for name in ("kid", "brother")]
    commit = effects(["t.out", "made"], ["made"], kids)
    assert driver.do("complete_task", "t", *commit).deleted == [b"object of t.out"]
    assert driver.status("t") == "COMPLETED"
    assert driver.result_status("t.out") == "CREATED"
    assert driver.state.results["t.out"].owner_task_id == "brother"
    driver.run("kid")
    assert [task.id for task in driver.complete("kid", "t.out").ready] == ["after"]
    driver.run("brother")
    assert driver.complete("brother", "t.out").deleted == [b"object of t.out"]


def test_strict_a_success_whose_children_are_refused_leaves_its_data() -> None:
    driver = Driver(strict=True)
    driver.session()
    driver.task("t")
    driver.task("after", needs=["t.out"])
    driver.run("t")
    commit = effects(["t.out", "made"], ["made"], [child("kid", "unknown")])
    changes = driver.do("complete_tasks", [("t", *commit)])
    assert driver.status("t") == "RETRIED"
    assert driver.result_status("t.out") == driver.result_status("made") == "COMPLETED"
    assert [task.id for task in changes.ready] == ["after", "t###1"]


def test_86_the_right_to_submit_children_is_that_of_the_start(driver: Driver) -> None:
    driver.task("before")
    driver.task("after")
    driver.run("before")
    driver.do("stop_submission", "s", False, True)
    driver.run("after")
    for name, may in (("before", True), ("after", False)):
        commit = effects([f"{name}.out", name], [name], [child(f"{name}.kid", name)])
        if may:
            driver.state.check_children(name, None, [None])
            driver.do("complete_task", name, *commit)
            assert driver.status("before.kid") == "SUBMITTED"
            continue
        with refused("FAILED_PRECONDITION"):
            driver.state.check_children(name, None, [None])
        with refused("FAILED_PRECONDITION"):
            driver.do("complete_task", name, *commit)


def test_a_childs_options_are_refused_when_it_is_asked_for(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    with refused("INVALID_ARGUMENT"):
        driver.state.check_children("t", ApiOptions(partition_id="gpu"), [])
    driver.state.check_children("t", None, [None, ApiOptions(priority=10)])


def test_89_success_without_an_output_is_an_error(driver: Driver) -> None:
    driver.task("t", outputs=["x", "y"])
    driver.task("after", needs=["y"])
    driver.run("t")
    changes = driver.do("complete_task", "t", *effects(["x", "made"], ["made"]))
    assert driver.status("t") == "ERROR"
    assert "output(s) y:" in driver.state.tasks["t"].error
    assert driver.result_status("x") == driver.result_status("y") == "ABORTED"
    assert driver.status("after") == "ERROR"
    assert "made" not in driver.state.results
    assert sorted(changes.deleted) == [b"object of made", b"object of x"]


def test_89_strict_it_completes_and_the_output_never_comes() -> None:
    driver = Driver(strict=True)
    driver.session()
    driver.task("t", outputs=["x", "y"])
    driver.task("after", needs=["y"])
    driver.run("t")
    driver.complete("t", "x")
    assert driver.status("t") == "COMPLETED"
    assert driver.result_status("y") == "CREATED"
    assert driver.status("after") == "PENDING"


def test_a_task_without_outputs_completes(driver: Driver) -> None:
    driver.task("t", outputs=[])
    driver.run("t")
    driver.do("complete_task", "t", [], {}, [])
    assert driver.status("t") == "COMPLETED"


def test_data_for_nothing_is_dropped(driver: Driver) -> None:
    driver.task("t")
    driver.task("u")
    driver.upload("u.out")
    driver.run("t", "u")
    assert driver.complete("t", "t.out", "unknown").deleted == [b"object of unknown"]
    changes = driver.do("complete_task", "u", [], {"u.out": stored("second")}, [])
    assert changes.deleted == [b"object of second"]
    assert driver.state.results["u.out"].opaque_id == b"object of u.out"


def test_many_commits_in_one_command(driver: Driver) -> None:
    for name in ("a", "b", "c"):
        driver.task(name)
    driver.run("a", "b", "c")
    commits = [(name, *effects([f"{name}.out"])) for name in ("a", "unknown", "b")]
    changes = driver.do("complete_tasks", commits)
    assert list(changes.tasks) == ["a", "b"]
    assert changes.deleted == [b"object of unknown.out"]
    assert driver.status("c") == "PROCESSING"


# --- payloads ---


@pytest.mark.parametrize("strict", [False, True])
def test_the_payload_goes_when_its_task_has_ended(strict: bool) -> None:
    """That of a failed one as in ArmoniK.Core only: it may be run again to see why it failed."""
    driver = Driver(delete_payload=True, strict=strict)
    driver.session()
    for name in ("good", "bad", "again"):
        driver.task(name)
    driver.run("good", "bad", "again")
    assert driver.complete("good").deleted == [b"object of good.payload"]
    assert driver.fail("bad").deleted == ([b"object of bad.payload"] if strict else [])
    assert driver.fail("again", retry=True).deleted == []
    driver.run("again###1")
    driver.complete("again###1")
    assert driver.result_status("bad.payload") == ("DELETED" if strict else "COMPLETED")
    for name in ("good", "again"):
        assert driver.result_status(f"{name}.payload") == "DELETED"


def test_a_payload_of_manual_deletion_stays() -> None:
    driver = Driver(delete_payload=True)
    driver.session()
    driver.data("p", manual=True)
    driver.submit(child("t", "p"))
    driver.run("t")
    assert driver.do("complete_task", "t", [], {}, []).deleted == []
    assert driver.result_status("p") == "COMPLETED"


@pytest.mark.parametrize("restarted", [False, True])
def test_a_payload_that_tasks_share_goes_with_the_last_of_them(restarted: bool) -> None:
    driver = Driver(delete_payload=True)
    driver.session()
    driver.data("p")
    driver.submit(*(child(name, "p") for name in ("a", "b", "c")))
    driver.run("a", "b")
    driver.do("complete_task", "a", [], {}, [])
    driver.fail("b", retry=True)
    if restarted:
        driver.crash()
    driver.run("b###1", "c")
    driver.do("complete_task", "c", [], {}, [])
    assert driver.result_status("p") == "COMPLETED"
    driver.do("complete_task", "b###1", [], {}, [])
    assert driver.result_status("p") == "DELETED"


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("cancelled", [False, True])
def test_a_payload_that_tasks_share_stays_for_one_that_failed(
    cancelled: bool, restarted: bool
) -> None:
    driver = Driver(delete_payload=True)
    driver.session()
    driver.data("p")
    driver.submit(*(child(name, "p") for name in ("a", "b", "c")))
    driver.run("a")
    driver.do("complete_task", "a", [], {}, [])
    if cancelled:
        driver.do("cancel_tasks", ["b"])
    else:
        driver.run("b")
        driver.fail("b")
    if restarted:
        driver.crash()
    driver.run("c")
    driver.do("complete_task", "c", [], {}, [])
    assert driver.result_status("p") == "COMPLETED"


# --- failure and retry ---


def test_90_102_a_failure_without_retry_is_an_error(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    assert told(driver.fail("t", "why")) == ["t ERROR", "t.out ABORTED"]
    task = driver.state.tasks["t"]
    assert (task.success, task.error, task.ended_at) == (False, "why", driver.now)
    assert driver.state.results["t.out"].completed_at == driver.now


def test_91_100_101_a_retry_takes_over_inputs_and_outputs(driver: Driver) -> None:
    driver.data("input")
    driver.task("t", needs=["input"])
    driver.run("t")
    assert told(driver.fail("t", retry=True)) == [
        *("t RETRIED", "new t###1 CREATING", "t.out -> t###1", "t###1 PENDING", "t###1 SUBMITTED")
    ]
    first, again = driver.state.tasks["t"], driver.state.tasks["t###1"]
    assert (first.success, first.error, first.ended_at) == (False, "boom", driver.now)
    assert (again.initial_id, again.retry_of, again.created_by) == ("t", ("t",), "t")
    assert (again.payload_id, again.dependencies, again.outputs) == (
        "t.payload",
        ("input",),
        ("t.out",),
    )
    assert again.depth == 1
    assert again.order == first.order


def test_99_a_task_runs_one_time_more_than_its_retries(driver: Driver) -> None:
    driver.task("t")
    assert driver.state.tasks["t"].options.max_retries == 2
    for task_id in ("t", "t###1", "t###2"):
        driver.run(task_id)
        driver.fail(task_id, retry=True)
    assert driver.status("t###2") == "ERROR"
    assert driver.state.tasks["t###2"].retry_of == ("t", "t###1")
    assert "t###3" not in driver.state.tasks
    assert driver.result_status("t.out") == "ABORTED"


def test_negative_max_retries_means_none(driver: Driver) -> None:
    driver.task("t", options=ApiOptions(max_retries=-1))
    driver.run("t")
    driver.fail("t", retry=True)
    assert driver.status("t") == "ERROR"


def test_93_a_timeout_is_never_retried(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    driver.fail("t", "too long", status=TaskStatus.TIMEOUT, retry=True)
    assert driver.status("t") == "TIMEOUT"
    assert driver.result_status("t.out") == "ABORTED"


def test_a_retry_is_held_or_cancelled_with_its_session(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    driver.do("pause_session", "s")
    driver.fail("t", retry=True)
    assert driver.status("t###1") == "PAUSED"
    driver.do("resume_session", "s")
    driver.run("t###1")
    driver.do("close_session", "s")
    driver.fail("t###1", retry=True)
    assert driver.status("t###2") == "CANCELLED"
    assert driver.result_status("t.out") == "ABORTED"


def test_only_a_task_that_an_agent_holds_can_fail(driver: Driver) -> None:
    driver.task("t")
    with refused("FAILED_PRECONDITION"):
        driver.fail("t")
    driver.do("acquire", "t", "agent")
    driver.fail("t")
    assert not driver.fail("t").events


# --- propagation ---


def test_104_all_that_depends_on_a_failure_ends_in_error_with_its_text(driver: Driver) -> None:
    driver.task("root", outputs=["x", "y"])
    driver.task("left", needs=["x"])
    driver.task("right", needs=["y", "left.out"])
    driver.task("last", needs=["right.out", "x"])
    driver.task("independent")
    driver.run("root")
    text = "line one\nline two " + "x" * 200
    driver.fail("root", text)
    for name in ("left", "right", "last"):
        task = driver.state.tasks[name]
        assert task.status is TaskStatus.ERROR
        assert text in task.error
        assert "root" in task.error
        assert task.ended_at == driver.now
        assert driver.result_status(f"{name}.out") == "ABORTED"
    assert driver.status("independent") == "SUBMITTED"


def test_105_outputs_handed_to_a_child_are_the_childs_to_abort(driver: Driver) -> None:
    driver.task("t", outputs=["x", "y"])
    driver.run("t")
    kid = child("kid", "made", outputs=("x",))
    driver.complete("t", "y", "made", created=["made"], children=[kid])
    driver.run("kid")
    driver.fail("kid")
    assert driver.result_status("x") == "ABORTED"
    assert driver.result_status("y") == "COMPLETED"
    assert driver.status("t") == "COMPLETED"


def test_strict_an_output_of_another_task_is_not_aborted() -> None:
    driver = Driver(strict=True)
    driver.session()
    driver.task("owner")
    driver.task("pretender", outputs=["owner.out"])
    driver.run("pretender")
    driver.fail("pretender")
    assert driver.result_status("owner.out") == "CREATED"


def test_a_chain_of_100_000_tasks_ends_at_once(driver: Driver) -> None:
    length = 100_000
    results = [NewResult(f"r{n}", "r") for n in range(length + 1)]
    driver.state.create_results(0.0, "s", [NewResult("p", "p", stored=stored("p"))])
    driver.state.create_results(0.0, "s", results)
    tasks = [child(f"t{n}", "p", (f"r{n}",), (f"r{n + 1}",)) for n in range(1, length)]
    driver.state.submit_tasks(0.0, "s", None, [child("t0", "p", (), ("r1",)), *tasks])
    driver.state.run(0.0, ["t0"], "agent")
    changes = driver.state.fail_task(0.0, "t0", "why")
    assert len(changes.tasks) == length
    assert driver.status(f"t{length - 1}") == "ERROR"
    assert driver.state.tasks[f"t{length - 1}"].error is driver.state.tasks["t1"].error


# --- cancelling ---


def test_106_108_109_cancelling_waiting_and_queued_tasks(driver: Driver) -> None:
    driver.task("queued")
    driver.task("waiting", uploaded=False)
    changes = driver.do("cancel_tasks", ["queued", "unknown", "waiting", "queued"])
    assert told(changes) == [
        *("queued CANCELLING", "waiting CANCELLING"),
        *("queued.out ABORTED", "waiting.out ABORTED"),
        *("queued CANCELLED", "waiting CANCELLED"),
    ]
    assert changes.interrupted == []
    assert not driver.run("queued").tasks
    assert driver.upload("waiting.payload").ready == []


def test_109_strict_a_waiting_task_stays_cancelling() -> None:
    driver = Driver(strict=True)
    driver.session()
    driver.task("queued")
    driver.task("waiting", uploaded=False)
    driver.do("cancel_tasks", ["queued", "waiting"])
    # What an agent takes from the queue is cancelled then; nobody takes what waits.
    assert driver.status("queued") == driver.status("waiting") == "CANCELLING"
    driver.do("stopped", ["queued"])
    assert driver.status("queued") == "CANCELLED"
    assert driver.status("waiting") == "CANCELLING"


def test_a_cancelled_task_says_by_its_output_where_it_was(driver: Driver) -> None:
    driver.task("queued")
    driver.task("waiting", uploaded=False)
    driver.task("running")
    driver.run("running")
    driver.do("cancel_tasks", ["queued", "waiting", "running"])
    driver.do("stopped", ["running"])
    tasks = [driver.state.tasks[name] for name in ("queued", "waiting", "running")]
    assert [(task.success, task.error) for task in tasks] == [(False, ""), (True, ""), (True, "")]
    assert [task.has_durations for task in tasks] == [True, False, False]
    assert all(task.ended_at is not None for task in tasks)


@pytest.mark.parametrize("report", ["stopped", "complete", "fail", "release"])
def test_107_a_running_task_is_cancelled_when_its_agent_says_so(
    driver: Driver, report: str
) -> None:
    driver.task("t")
    driver.task("after", needs=["t.out"])
    driver.run("t")
    changes = driver.do("cancel_tasks", ["t"])
    assert changes.interrupted == [driver.state.tasks["t"]]
    assert driver.status("t") == "CANCELLING"
    assert driver.result_status("t.out") == "ABORTED"
    assert driver.status("after") == "ERROR"
    assert driver.do("cancel_tasks", ["t"]).interrupted == []
    if report == "stopped":
        driver.do("stopped", ["t", "unknown"])
    elif report == "complete":
        kid = child("kid", "made")
        changes = driver.complete("t", "t.out", "made", created=["made"], children=[kid])
        assert sorted(changes.deleted) == [b"object of made", b"object of t.out"]
        assert "kid" not in driver.state.tasks
    elif report == "fail":
        driver.fail("t", retry=True)
    else:
        assert driver.do("release", "t").ready == []
    assert driver.status("t") == "CANCELLED"
    assert driver.result_status("t.out") == "ABORTED"
    assert (driver.state.tasks["t"].success, driver.state.tasks["t"].error) == (True, "")
    assert driver.state.tasks["after"].error == "task t was cancelled: a client asked to cancel it"


def test_106_ended_tasks_are_not_cancelled(driver: Driver) -> None:
    driver.task("t")
    driver.run("t")
    driver.complete("t")
    assert not driver.do("cancel_tasks", ["t"]).tasks
    assert driver.status("t") == "COMPLETED"


# --- memory ---


def test_only_ended_tasks_are_evicted(driver: Driver) -> None:
    driver.task("t")
    driver.state.evict(["unknown"])
    with pytest.raises(ValueError, match="has not ended"):
        driver.state.evict(["t"])
    driver.run("t")
    driver.complete("t")
    driver.state.evict(["t"])
    assert "t" not in driver.state.tasks
    driver.task("after", needs=["t.out"])
    assert driver.status("after") == "SUBMITTED"
    driver.do("cancel_session", "s")
    driver.do("delete_session", "s")


def test_dependents_that_were_evicted_are_passed_over(driver: Driver) -> None:
    driver.task("a")
    driver.task("b")
    driver.task("after", needs=["a.out", "b.out"])
    driver.run("a", "b")
    driver.fail("a")
    driver.state.evict(["after"])
    assert driver.complete("b").ready == []
