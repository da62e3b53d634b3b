"""Code that is stored once: who announces it, and when."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest

from armoflow import config
from armoflow.orchestrator.codebook import CodeBook, EncodedCode
from armoflow.orchestrator.constant import Constant


def make_large() -> Callable[[], int]:
    ballast = "x" * (config.INLINE_FUNCTION_LIMIT + 1)
    return lambda: len(ballast)


LARGE = make_large()


def constant_of(code: EncodedCode) -> tuple[Constant, bool]:
    reference, constant, is_new = code.refer()
    assert constant is not None
    assert reference.digest == code.digest and reference.data is None
    return constant, is_new


def test_a_plan_announces_its_code_once() -> None:
    code = CodeBook().function(LARGE)
    constant, is_new = constant_of(code)
    assert is_new
    assert constant_of(code) == (constant, False)


def test_a_plan_does_not_count_on_what_another_has_yet_to_queue() -> None:
    book = CodeBook()
    constant, is_new = constant_of(book.function(LARGE))
    assert is_new
    # The first plan may be held up, or given up, before what it yielded is in the queue.
    second = book.function(LARGE)
    assert constant_of(second) == (constant, True)
    constant.result_id = "stored"
    assert constant_of(book.function(LARGE)) == (constant, False)


def test_code_that_could_not_be_stored_is_stored_anew() -> None:
    book = CodeBook()
    code = book.function(LARGE)
    lost, _ = constant_of(code)
    lost.error = OSError("no space left")
    for plan in (code, book.function(LARGE)):
        constant, is_new = constant_of(plan)
        assert constant is not lost and is_new
    assert constant.error is None


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_small_travels_along(count: int) -> None:
    code = CodeBook().function(len)
    for _ in range(count):
        reference, constant, is_new = code.refer()
        assert reference.data is not None and constant is None and not is_new


def make_larger(size: int) -> Callable[[], int]:
    ballast = bytes(size)
    return lambda: len(ballast)


def test_a_constant_is_let_go_once_its_code_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CODE_BOOK_BYTES", 150_000)
    released = []
    book = CodeBook()
    plan = book.function(make_larger(100_000))
    constant, _ = constant_of(plan)
    constant.result_id = "stored"
    constant.on_release = lambda result_id, size: released.append((result_id, size))
    size = constant.size
    del constant
    book.function(make_larger(100_001))
    assert released == []  # a plan still has it
    del plan
    assert released == [("stored", size)]


def test_forgotten_code_that_a_plan_still_has_is_not_taken_for_stored_in_the_next_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config, "CODE_BOOK_BYTES", 150_000)
    book = CodeBook()
    plan = book.function(make_larger(100_000))
    constant_of(plan)[0].result_id = "stored"
    book.function(make_larger(100_001))
    book.forget_stored()
    constant, is_new = constant_of(plan)
    assert is_new and not constant.result_id


def test_small_functions_count_for_what_is_known_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CODE_BOOK_BYTES", 10 * config.SENT_CODE_LEAST)
    book = CodeBook()
    digests = [book.function(make_larger(size)).digest for size in range(50)]
    assert [digest for digest in digests if book.code_of(digest)] == digests[-10:]


def test_functions_with_data_are_not_kept_for_their_codes_sake() -> None:
    book = CodeBook()
    function = make_larger(100_000)
    gone = weakref.ref(function)
    book.function(function)
    del function
    for size in range(20):
        book.function(make_larger(size))
    assert gone() is None
