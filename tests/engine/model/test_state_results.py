"""Results: created, uploaded, imported, deleted. Numbers are conformance statements."""

from __future__ import annotations

import pytest
from state_driver import Driver, refused, stored, told

from armoflow.engine.records import NewResult


@pytest.fixture(params=[False, True], ids=["default", "strict"])
def any_driver(request: pytest.FixtureRequest) -> Driver:
    return _driver(strict=request.param)


@pytest.fixture
def driver() -> Driver:
    return _driver()


@pytest.fixture
def strict() -> Driver:
    return _driver(strict=True)


def _driver(**options: bool) -> Driver:
    driver = Driver(**options)
    driver.session()
    return driver


def test_36_created_results_have_no_owner_and_no_data(any_driver: Driver) -> None:
    news = [NewResult("b", "same name"), NewResult("a", "same name")]
    changes = any_driver.do("create_results", "s", news)
    assert list(changes.results) == ["b", "a"]
    assert told(changes) == ["new b CREATED", "new a CREATED"]
    result = any_driver.state.results["a"]
    assert (result.owner_task_id, result.created_by, result.size, result.opaque_id) == (
        "",
        "",
        0,
        b"",
    )
    assert result.completed_at is None


def test_37_results_with_data_are_completed_and_owned_by_the_session(any_driver: Driver) -> None:
    assert told(any_driver.data("r")) == ["new r COMPLETED"]
    result = any_driver.state.results["r"]
    assert (result.size, result.opaque_id, result.owner_task_id) == (10, b"object of r", "s")
    assert result.completed_at == result.created_at == 2.0


def test_38_results_of_an_unknown_session(driver: Driver, strict: Driver) -> None:
    with refused("NOT_FOUND"):
        driver.results("r", session="nobody")
    strict.results("r", session="nobody")
    assert strict.result_status("r") == "CREATED"


def test_a_result_id_is_taken_once(driver: Driver) -> None:
    driver.results("r")
    with refused("ALREADY_EXISTS"):
        driver.results("new", "r")
    with refused("ALREADY_EXISTS"):
        driver.results("twice", "twice")
    assert set(driver.state.results) == {"r"}


def test_39_an_upload_completes_and_says_the_size(any_driver: Driver) -> None:
    any_driver.results("r")
    assert told(any_driver.upload("r")) == ["r COMPLETED"]
    result = any_driver.state.results["r"]
    assert (result.size, result.completed_at) == (10, 3.0)


def test_41_an_upload_to_nowhere_is_refused(any_driver: Driver) -> None:
    any_driver.results("r")
    with refused("NOT_FOUND"):
        any_driver.upload("unknown")
    with refused("NOT_FOUND"):
        any_driver.upload("r", "unknown")
    with refused("NOT_FOUND"):
        any_driver.upload("r", session="nobody")
    assert any_driver.result_status("r") == "CREATED"


def test_43_a_second_upload_of_the_same_data_is_accepted(driver: Driver) -> None:
    driver.results("r")
    driver.upload("r")
    changes = driver.do("complete_results", "s", [("r", stored("another copy"))])
    assert changes.deleted == [b"object of another copy"]
    assert changes.events == []
    assert driver.state.results["r"].opaque_id == b"object of r"
    assert driver.upload("r").deleted == []


def test_43_completed_data_never_changes(driver: Driver, strict: Driver) -> None:
    for each in (driver, strict):
        each.results("r")
        each.upload("r")
    with refused("FAILED_PRECONDITION"):
        driver.do("complete_results", "s", [("r", stored("longer", 11))])
    strict.do("complete_results", "s", [("r", stored("longer", 11))])
    assert strict.state.results["r"].opaque_id == b"object of longer"


def test_aborted_and_deleted_results_take_no_data(driver: Driver) -> None:
    driver.data("deleted")
    driver.do("delete_results", ["deleted"])
    driver.task("t")
    driver.do("cancel_tasks", ["t"])
    for result_id in ("deleted", "t.out"):
        with refused("FAILED_PRECONDITION"):
            driver.upload(result_id)


def test_42_empty_data_completes_a_result(any_driver: Driver) -> None:
    any_driver.results("r")
    any_driver.do("complete_results", "s", [("r", stored("r", 0))])
    assert any_driver.result_status("r") == "COMPLETED"


def test_46_deletion_keeps_the_size_and_skips_what_it_does_not_know(any_driver: Driver) -> None:
    any_driver.data("r")
    changes = any_driver.do("delete_results", ["unknown", "r", "r"])
    assert changes.deleted == [b"object of r"]
    assert told(changes) == ["r DELETED"]
    result = any_driver.state.results["r"]
    assert (result.status.name, result.size, result.opaque_id) == ("DELETED", 10, b"")


def test_47_manual_results_are_not_deleted(any_driver: Driver) -> None:
    any_driver.data("r", manual=True)
    assert any_driver.do("delete_results", ["r"]).deleted == []
    assert any_driver.result_status("r") == "COMPLETED"


def test_a_result_without_data_yet_is_not_deleted(driver: Driver, strict: Driver) -> None:
    for each, status in ((driver, "CREATED"), (strict, "DELETED")):
        each.results("r")
        each.do("delete_results", ["r"])
        assert each.result_status("r") == status


def test_48_an_import_is_refused_as_a_whole(any_driver: Driver) -> None:
    any_driver.results("new")
    any_driver.data("old")
    data = stored("old")
    with refused("NOT_FOUND"):
        any_driver.do("import_results", "s", [("new", data), ("unknown", data)])
    with refused("FAILED_PRECONDITION"):
        any_driver.do("import_results", "s", [("new", data), ("old", data)])
    with refused("UNKNOWN" if any_driver.state.strict else "INVALID_ARGUMENT"):
        any_driver.do("import_results", "s", [("new", data), ("new", data)])
    assert any_driver.result_status("new") == "CREATED"


def test_49_an_import_queues_what_waited(any_driver: Driver) -> None:
    any_driver.task("t", uploaded=False)
    changes = any_driver.do("import_results", "s", [("t.payload", stored("old"))])
    assert [task.id for task in changes.ready] == ["t"]
    assert told(changes) == ["t.payload COMPLETED", "t SUBMITTED"]


def test_50_an_empty_import_is_accepted_anywhere(any_driver: Driver) -> None:
    any_driver.do("import_results", "nobody", [])


def test_an_object_of_several_results_goes_with_the_first_of_them(driver: Driver) -> None:
    driver.data("first")
    driver.results("second", "third")
    data = stored("first")
    driver.do("import_results", "s", [("second", data), ("third", data)])
    assert driver.do("delete_results", ["second"]).deleted == [b"object of first"]
    # That it is to go is told again: nothing has to be remembered of it.
    assert {*driver.do("delete_results", ["first", "third"]).deleted} == {b"object of first"}
    assert driver.result_status("first") == "DELETED"


def test_deleted_results_can_be_evicted_others_not(driver: Driver) -> None:
    driver.data("deleted", "kept")
    driver.do("delete_results", ["deleted"])
    driver.state.evict_results(("deleted", "kept", "unknown"))
    assert set(driver.state.results) == {"kept"}
