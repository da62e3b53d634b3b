"""Submission: what is checked, in which order things happen. Numbers are conformance statements."""

from __future__ import annotations

from dataclasses import replace

import pytest
from state_driver import OPTIONS, Driver, refused, stored, told

from armoflow.engine.records import ApiOptions, NewResult, NewTask
from armoflow.engine.state.task_options import merge_options
from armoflow.protocol.frames import RUN_LABEL, SAY_PREFIX


@pytest.fixture
def driver() -> Driver:
    return _driver()


@pytest.fixture
def strict() -> Driver:
    return _driver(strict=True)


def _driver(**options: bool) -> Driver:
    driver = Driver(**options)
    driver.session("s", OPTIONS, ["default"])
    driver.data("payload", "done")
    driver.results("open", "out")
    return driver


def task(
    task_id: str = "t", payload: str = "payload", needs=(), outputs=(), options=None
) -> NewTask:
    return NewTask(task_id, payload, needs, outputs, options)


def test_53_nothing_to_submit_or_nowhere(driver: Driver) -> None:
    with refused("INVALID_ARGUMENT"):
        driver.submit()
    with refused("NOT_FOUND"):
        driver.submit(task(), session="nobody")


def test_54_closed_cancelled_and_purged_sessions_take_no_tasks(driver: Driver) -> None:
    driver.do("pause_session", "s")
    driver.submit(task("in_a_paused_one"))
    for command in ("close_session", "cancel_session", "purge_session"):
        driver.do(command, "s")
        with refused("FAILED_PRECONDITION"):
            driver.submit(task())


def test_55_a_partition_outside_the_session_is_refused(driver: Driver, strict: Driver) -> None:
    elsewhere = ApiOptions(partition_id="other")
    with refused("INVALID_ARGUMENT") as caught:
        driver.submit(task(), request=elsewhere)
    assert "'other'" in str(caught.value)
    assert "'default'" in str(caught.value)
    assert not driver.state.tasks
    with refused("UNKNOWN"):
        strict.submit(task(), request=elsewhere)
    for each in (driver, strict):  # a task's own may be any that exists
        each.submit(task(options=elsewhere))
    with refused("INVALID_ARGUMENT"):
        driver.submit(task("lost"), task(options=ApiOptions(partition_id="nowhere")))
    strict.submit(task("lost", options=ApiOptions(partition_id="nowhere")))


def test_strict_a_submission_refused_for_its_inputs_takes_the_outputs_from_their_owners(
    strict: Driver,
) -> None:
    strict.submit(task("first", outputs=("out",)))
    with refused("NOT_FOUND"):
        strict.submit(task("second", "unknown", outputs=("out",)))
    strict.do("disown", ["out", "unknown"])
    assert strict.state.results["out"].owner_task_id == ""
    strict.run("first")
    strict.fail("first")
    assert strict.result_status("out") == "ABORTED"


def test_56_a_priority_above_the_maximum_is_refused(driver: Driver, strict: Driver) -> None:
    for each in (driver, strict):
        with refused("INVALID_ARGUMENT"):
            each.submit(task(), request=ApiOptions(priority=11))
        each.submit(task("ten"), request=ApiOptions(priority=10))
    with refused("INVALID_ARGUMENT"):
        driver.submit(task(options=ApiOptions(priority=11)))
    strict.submit(task(options=ApiOptions(priority=11)))


@pytest.mark.parametrize("bad", [task(payload="unknown"), task(needs=("unknown",))])
def test_57_unknown_inputs_are_refused(driver: Driver, strict: Driver, bad: NewTask) -> None:
    for each in (driver, strict):
        with refused("NOT_FOUND") as caught:
            each.submit(task("fine", outputs=("out",)), bad)
        assert "'unknown'" in str(caught.value)
        assert not each.state.tasks
        assert each.state.results["out"].owner_task_id == ""


def test_58_aborted_and_deleted_inputs_are_refused_and_all_named(driver: Driver) -> None:
    driver.task("aborted")
    driver.do("cancel_tasks", ["aborted"])
    driver.do("delete_results", ["done"])
    with refused("FAILED_PRECONDITION") as caught:
        driver.submit(task("a", needs=("aborted.out", "open")), task("b", payload="done"))
    assert caught.value.result_ids == ("aborted.out", "done")
    assert set(driver.state.tasks) == {"aborted"}
    assert driver.state.results["open"].dependents is None


def test_58_a_deleted_payload_is_refused(driver: Driver, strict: Driver) -> None:
    for each in (driver, strict):
        each.do("delete_results", ["payload"])
        with refused("FAILED_PRECONDITION") as caught:
            each.submit(task())
        assert caught.value.result_ids == ("payload",)


@pytest.mark.parametrize("needs", [("done", "done"), ("payload",)])
def test_59_an_input_is_named_once(driver: Driver, strict: Driver, needs: tuple[str, ...]) -> None:
    with refused("INVALID_ARGUMENT"):
        driver.submit(task(needs=needs))
    with refused("UNKNOWN"):
        strict.submit(task(needs=needs))


def test_60_outputs_must_be_free(driver: Driver, strict: Driver) -> None:
    with refused("NOT_FOUND"):
        driver.submit(task(outputs=("unknown",)))
    with refused("FAILED_PRECONDITION"):
        driver.submit(task(outputs=("done",)))
    driver.submit(task("owner", outputs=("out",)))
    with refused("FAILED_PRECONDITION") as caught:
        driver.submit(task(outputs=("out",)))
    assert "owner" in str(caught.value)
    strict.submit(task("owner", outputs=("out", "unknown")))
    strict.submit(task(outputs=("out",)))
    assert strict.state.results["out"].owner_task_id == "owner"


def test_an_output_has_one_producer(driver: Driver) -> None:
    with refused("INVALID_ARGUMENT"):
        driver.submit(task("a", outputs=("out",)), task("b", outputs=("out",)))
    with refused("INVALID_ARGUMENT"):
        driver.submit(task(needs=("out",), outputs=("out",)))
    assert driver.state.results["out"].owner_task_id == ""


def test_a_task_id_is_taken_once(driver: Driver) -> None:
    driver.submit(task())
    with refused("ALREADY_EXISTS"):
        driver.submit(task("new"), task())
    with refused("ALREADY_EXISTS"):
        driver.submit(task("twice"), task("twice"))
    assert set(driver.state.tasks) == {"t"}


def test_61_62_a_new_task_knows_its_origin_and_owns_its_outputs(driver: Driver) -> None:
    driver.submit(task(outputs=("out",)))
    new = driver.state.tasks["t"]
    assert (new.created_by, new.depth, new.initial_id, new.retry_of) == ("", 1, "t", ())
    assert driver.state.results["out"].owner_task_id == "t"


def test_63_options_are_merged_field_by_field() -> None:
    session = ApiOptions(9.0, 3, 1, "default", "app", "1", "space", "service", "engine", {"a": "s"})
    request = ApiOptions(priority=5, application_version="2", options={"a": "r", "b": "r"})
    merged = merge_options(session, request)
    assert merged == ApiOptions(
        9.0, 3, 5, "default", "app", "2", "space", "service", "engine", {"a": "r", "b": "r"}
    )
    assert merge_options(session, None) is session


def test_63_the_task_wins_over_the_request_over_the_session(driver: Driver) -> None:
    driver.submit(
        task("a", options=ApiOptions(priority=7)),
        task("b"),
        request=ApiOptions(priority=3, max_retries=9),
    )
    a, b = driver.state.tasks["a"].options, driver.state.tasks["b"].options
    assert (a.priority, a.max_retries, a.max_duration) == (7, 9, 60.0)
    assert b.priority == 3


def test_64_priority_zero_inherits_unless_strict(driver: Driver, strict: Driver) -> None:
    for each, priority in ((driver, 1), (strict, 0)):
        each.submit(task(), request=ApiOptions(max_retries=5))
        assert each.state.tasks["t"].options.priority == priority


def test_65_a_task_with_all_inputs_goes_through_every_status(driver: Driver) -> None:
    changes = driver.submit(task(needs=("done",), outputs=("out",)))
    assert told(changes) == ["new t CREATING", "out -> t", "t PENDING", "t SUBMITTED"]
    assert [ready.id for ready in changes.ready] == ["t"]
    assert driver.state.tasks["t"].submitted_at == driver.now


def test_66_a_task_waits_for_its_last_input(driver: Driver) -> None:
    driver.results("open2")
    driver.submit(task(needs=("open", "done", "open2")))
    assert driver.upload("open").ready == []
    assert driver.status("t") == "PENDING"
    assert [ready.id for ready in driver.upload("open2").ready] == ["t"]


def test_67_a_payload_uploaded_later_queues_the_task(driver: Driver) -> None:
    driver.submit(task(payload="open"))
    assert driver.status("t") == "PENDING"
    assert told(driver.upload("open")) == ["open COMPLETED", "t SUBMITTED"]


def test_68_inputs_uploaded_together_queue_the_task_once(driver: Driver) -> None:
    driver.results("open2")
    driver.submit(task(payload="open2", needs=("open",)))
    assert len(driver.upload("open", "open2").ready) == 1


def test_one_result_may_serve_many_tasks(driver: Driver) -> None:
    driver.submit(task("a", payload="open"), task("b", needs=("open",)))
    assert [ready.id for ready in driver.upload("open").ready] == ["a", "b"]


def test_70_client_tasks_stand_in_the_order_of_submission(driver: Driver) -> None:
    driver.submit(task("a"), task("b"))
    driver.submit(task("c"))
    orders = [driver.state.tasks[name].order for name in "abc"]
    assert orders == sorted(set(orders))


def test_a_refused_submission_changes_nothing(driver: Driver) -> None:
    driver.do("stop_submission", "s", True, False)
    with refused("FAILED_PRECONDITION"):
        driver.submit(task(outputs=("out",)))
    assert driver.state.results["out"].owner_task_id == ""


# --- everything in one command ---


def batch(driver: Driver, session: str = "s"):
    results = [NewResult(name, name) for name in ("p1", "o1", "p2", "o2")]
    tasks = [task("t1", "p1", (), ("o1",)), task("t2", "p2", ("o1",), ("o2",))]
    payloads = [("p1", stored("p1")), ("p2", stored("p2"))]
    return driver.do("submit_with_data", session, results, tasks, payloads)


def test_one_command_does_all_in_order(driver: Driver) -> None:
    changes = batch(driver)
    assert told(changes) == [
        *("new p1 CREATED", "new o1 CREATED", "new p2 CREATED", "new o2 CREATED"),
        *("new t1 CREATING", "new t2 CREATING", "o1 -> t1", "o2 -> t2"),
        *("t1 PENDING", "t2 PENDING", "p1 COMPLETED", "p2 COMPLETED", "t1 SUBMITTED"),
    ]
    assert [ready.id for ready in changes.ready] == ["t1"]


def test_its_repetition_changes_nothing_whatever_happened_since(driver: Driver) -> None:
    batch(driver)
    changes = batch(driver)
    assert not (changes.events or changes.tasks or changes.results or changes.deleted)
    driver.run("t1")
    driver.complete("t1")
    driver.state.evict(["t1"])
    del driver.journal.tasks["t1"]
    driver.do("delete_results", ["p1", "o1"])
    changes = batch(driver)
    assert not (changes.events or changes.tasks or changes.results)
    assert changes.deleted == [b"object of p1"]
    driver.do("cancel_session", "s")
    assert not batch(driver).events


@pytest.mark.parametrize("restarted", [False, True])
def test_nor_when_its_traces_are_evicted(restarted: bool) -> None:
    driver = _driver(delete_payload=True)
    batch(driver)
    for name in ("t1", "t2"):
        driver.run(name)
        driver.complete(name)
        driver.state.evict([name])
        del driver.journal.tasks[name]
    driver.do("delete_results", ["o1", "o2"])
    driver.state.evict_results(("p1", "p2", "o1", "o2"))
    if restarted:
        driver.crash()
    changes = batch(driver)
    assert not (changes.events or changes.tasks or changes.results)
    assert sorted(changes.deleted) == [b"object of p1", b"object of p2"]


@pytest.mark.parametrize("deleted", ["p", "a", "b"])
def test_nor_in_a_session_that_has_ended_and_remembers_nothing(
    driver: Driver, deleted: str
) -> None:
    """What a task made, or was made of, does not come back without the task."""
    results = [NewResult(name, name) for name in ("p", "a", "b")]
    again = (
        "submit_with_data",
        "s",
        results,
        [task("t", "p", (), ("a", "b"))],
        [("p", stored("p"))],
    )
    driver.do(*again)
    driver.do("cancel_session", "s")
    driver.do("delete_results", [deleted])
    driver.crash()
    assert deleted not in driver.state.results
    changes = driver.do(*again)
    assert not (changes.events or changes.tasks or changes.results)


def test_a_refused_one_changes_nothing(driver: Driver) -> None:
    before = set(driver.state.results)
    bad = [NewResult("p1", "p1")], [task("t1", "p1", ("unknown",))], []
    with refused("NOT_FOUND"):
        driver.do("submit_with_data", "s", *bad)
    with refused("NOT_FOUND"):
        driver.do("submit_with_data", "s", [NewResult("p1", "p1")], [], [("unknown", stored("x"))])
    with refused("NOT_FOUND"):
        batch(driver, session="nobody")
    assert set(driver.state.results) == before
    assert told(batch(driver))


@pytest.fixture
def run(driver: Driver) -> Driver:
    driver.session("run", replace(OPTIONS, options={RUN_LABEL: "nightly"}), ["default"])
    return driver


def claim(run: Driver, name: str = f"{SAY_PREFIX}2") -> None:
    run.do("submit_with_data", "run", [NewResult("c", name)], [], [("c", stored("c"))])


def fenced(run: Driver, name: str = f"{SAY_PREFIX}2"):
    results, new = [NewResult("p1", "p1"), NewResult("o1", "o1")], [task("t1", "p1", (), ("o1",))]
    return run.do("submit_with_data", "run", results, new, [("p1", stored("p1"))], unless=name)


def test_a_fenced_one_is_like_others_as_long_as_its_name_is_free(run: Driver) -> None:
    claim(run, f"{SAY_PREFIX}1")
    assert list(fenced(run).tasks) == ["t1"]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("by_itself", [False, True])
def test_a_fenced_one_changes_nothing_once_its_name_is_taken(
    run: Driver, by_itself: bool, restarted: bool
) -> None:
    if by_itself:  # CreateResults
        run.do("create_results", "run", [NewResult("c", f"{SAY_PREFIX}2", stored=stored("c"))])
    else:
        claim(run)
    if restarted:
        run.crash()
    with refused("ALREADY_EXISTS"):
        fenced(run)
    assert {"p1", "o1"}.isdisjoint(run.state.results)
    assert fenced(run, f"{SAY_PREFIX}3").tasks


def test_what_was_submitted_before_its_name_was_taken_may_be_repeated(run: Driver) -> None:
    """Whoever took it has found the tasks: who submitted them does not take them for refused."""
    fenced(run)
    claim(run)
    assert not fenced(run).tasks


def test_payloads_may_follow_in_later_commands(driver: Driver) -> None:
    driver.do("submit_with_data", "s", [NewResult("p", "p")], [task("t", "p")], [])
    assert driver.status("t") == "PENDING"
    changes = driver.do("submit_with_data", "s", [], [], [("p", stored("p"))])
    assert [ready.id for ready in changes.ready] == ["t"]


def test_a_repetition_submits_what_is_new(driver: Driver) -> None:
    batch(driver)
    more = [NewResult("p1", "p1"), NewResult("p3", "p3", stored=stored("p3"))]
    changes = driver.do("submit_with_data", "s", more, [task("t1", "p1"), task("t3", "p3")], [])
    assert list(changes.tasks) == ["t3"]
    assert driver.status("t3") == "SUBMITTED"


def test_each_id_is_in_memory_once(driver: Driver) -> None:
    driver.results("first", "second")
    names = ["".join(list(name)) for name in ("payload", "open", "first", "second")]
    payload, needed, *outputs = names
    driver.submit(task("".join(list("first")), payload, [needed], outputs))
    record = driver.state.tasks["first"]
    results = driver.state.results
    assert record.id is results["first"].id
    assert record.payload_id is results["payload"].id
    assert record.dependencies[0] is results["open"].id
    assert [i is results[i].id for i in record.outputs] == [True, True]
