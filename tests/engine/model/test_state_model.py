"""Any commands in any order, with crashes: safe after each of them, progress at the end."""

from __future__ import annotations

from typing import Any

from any_commands import AnyCommands
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from armoflow.engine.records import Changes, SessionStatus


class StrictEngine(AnyCommands):
    """A state that does to work and data what ArmoniK.Core does; the exceptions are listed."""

    strict = True

    def do(self, command: str, *arguments: Any, **options: Any) -> Changes | None:
        """What is created in a session that is being ended goes with the others."""
        for session in self.state.sessions.values():
            members = [r for r in self.state.results.values() if r.session_id == session.id]
            if session.status is SessionStatus.DELETED:
                self._gone(members)
            elif session.status is SessionStatus.CANCELLED:
                self._aborted(members)
        return super().do(command, *arguments, **options)

    @precondition(lambda self: self.state.results)
    @rule(data=st.data())
    def refuse_for_inputs(self, data: st.DataObject) -> None:
        """A submission that is refused for its inputs leaves the outputs it names without owner."""
        outputs = self.pick(data, sorted(self.state.results), most=2)
        self._disowned(outputs)
        self.do("disown", outputs)


class DeletingEngine(AnyCommands):
    """The same with payloads deleted when their task has ended."""

    delete_payload = True


class SlicedEngine(AnyCommands):
    """The same where commands leave most of their work for later, and anything comes between."""

    slice_size = 1


class SlicedStrictEngine(StrictEngine):
    """Both."""

    slice_size = 1


SETTINGS = settings(
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestEngine = AnyCommands.TestCase
TestEngine.settings = SETTINGS
TestDeletingEngine = DeletingEngine.TestCase
TestDeletingEngine.settings = SETTINGS
TestSlicedEngine = SlicedEngine.TestCase
TestSlicedEngine.settings = SETTINGS
TestStrictEngine = StrictEngine.TestCase
TestStrictEngine.settings = SETTINGS
TestSlicedStrictEngine = SlicedStrictEngine.TestCase
TestSlicedStrictEngine.settings = SETTINGS
