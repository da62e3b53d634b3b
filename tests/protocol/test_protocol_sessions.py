"""A session is opened once, though answers are lost; and what was opened for nobody is ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc
import pytest

from armoflow.errors import EngineError
from armoflow.protocol.messages import session_options
from armoflow.protocol.submission import WireOptions
from tests.protocol.fake_engine import FakeEngine, broken

T = TypeVar("T")

OPTIONS = WireOptions(60.0)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 30.0))


def lose_once(name: str) -> Any:
    """Loses one call of this name, or its answer."""
    left = [name]

    def lose(called: str) -> None:
        if called in left:
            left.clear()
            raise broken()

    return lose


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def test_an_answer_that_was_lost_is_found_again(engine: FakeEngine) -> None:
    engine.after = lose_once("CreateSession")
    assert run(engine.transport().create_session(OPTIONS, ())) == "session-1"
    assert engine.calls == ["CreateSession", "ListSessions"]


def test_a_call_that_was_lost_is_made_again(engine: FakeEngine) -> None:
    engine.before = lose_once("CreateSession")
    assert run(engine.transport().create_session(OPTIONS, ())) == "session-1"
    assert engine.calls == ["CreateSession", "ListSessions", "CreateSession"]


def test_sessions_of_others_are_not_taken(engine: FakeEngine) -> None:
    first = run(engine.transport().create_session(OPTIONS, ()))
    engine.after = lose_once("CreateSession")
    assert run(engine.transport().create_session(OPTIONS, ())) == "session-2" != first


def test_what_was_carried_out_late_ends_with_the_session_that_is_used(engine: FakeEngine) -> None:
    other = run(engine.transport().create_session(OPTIONS, ()))
    late: list[Any] = []
    create = engine.CreateSession

    def given_up(request: Any) -> Any:
        if not late:
            late.append(request)
            raise broken(grpc.StatusCode.DEADLINE_EXCEEDED, "")
        return create(request)

    engine.CreateSession = given_up  # type: ignore[method-assign]

    async def use() -> str:
        transport = engine.transport()
        session_id = await transport.create_session(OPTIONS, ())
        create(late[0])
        assert len(engine.sessions) == 3
        await transport.end_session(session_id)
        return session_id

    assert run(use()) != other
    assert list(engine.sessions) == [other]


def test_who_may_not_list_sessions_opens_one_all_the_same(engine: FakeEngine) -> None:
    engine.after = lose_once("CreateSession")

    def before(name: str) -> None:
        if name == "ListSessions":
            raise broken(grpc.StatusCode.PERMISSION_DENIED, "")

    engine.before = before

    async def use() -> str:
        transport = engine.transport()
        session_id = await transport.create_session(OPTIONS, ())
        await transport.end_session(session_id)
        return session_id

    assert run(use()) == "session-2"
    assert list(engine.sessions) == ["session-1"]


def test_a_refused_session_is_refused_at_once(engine: FakeEngine) -> None:
    def before(name: str) -> None:
        raise broken(grpc.StatusCode.INVALID_ARGUMENT, "priority")

    engine.before = before
    with pytest.raises(EngineError, match="priority"):
        run(engine.transport().create_session(OPTIONS, ()))
    assert engine.calls == ["CreateSession"]


def test_a_name_that_is_no_text_is_shown_as_far_as_it_is() -> None:
    options = WireOptions(60.0, application="caf\udce9" + "x" * 300)
    message = session_options(options)
    assert message.application_name == ("caf?" + "x" * 300)[:200]
    assert message.SerializeToString()
