"""What a running task asks for, buffered until it ends in success, and the order it happens in.

Nothing that a task does through its agent is visible before it succeeded; if it fails, nothing of
it happens. At commit the order is that of the reference engine's agent: results are created, data
is stored, results are completed, child tasks are created, the parent's outputs that children list
become theirs, children are queued, and so are other tasks that waited.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

TEMPORARY = "~"
"""First character of a payload id that the task made up: the agent gives the result its real id."""


class StagedFile(NamedTuple):
    """Data in a file beside the agent, to be moved into the store at commit."""

    path: str
    size: int


ResultData: TypeAlias = "bytes | StagedFile"


class CreatedResult(NamedTuple):
    """A result that the task created: its id and its name."""

    id: str
    name: str


@dataclass(slots=True)
class ChildTask:
    """A task that the running task submits.

    Attributes:
        payload_id: A result of this execution, or any existing one; a temporary id (first
            character ``~``) names data of this execution that has no result yet.
        dependencies: Result ids.
        outputs: Result ids; an expected output of the parent among them becomes the child's.
        options: Encoded task options, or None to inherit (see ``armoflow.agent.lane_frames``).
        id: The child's id where the task was told it already; empty: the engine makes one.
    """

    payload_id: str
    dependencies: list[str]
    outputs: list[str]
    options: dict[str, Any] | None = None
    id: str = ""


@dataclass(slots=True)
class Effects:
    """All that one execution of a task asked for."""

    created: list[CreatedResult] = field(default_factory=list)
    data: dict[str, ResultData] = field(default_factory=dict)
    children: list[ChildTask] = field(default_factory=list)

    def undelivered(self, expected_outputs: Iterable[str]) -> list[str]:
        """Expected outputs that are neither produced nor handed to a child.

        A task that ended in success with one of these would leave its dependents waiting for ever.
        """
        delegated = {output for child in self.children for output in child.outputs}
        return [
            output
            for output in expected_outputs
            if output not in self.data and output not in delegated
        ]

    def add(self, others: Effects) -> None:
        """Take over what another part of the execution asked for."""
        self.created += others.created
        self.data.update(others.data)
        self.children += others.children

    def staged_files(self) -> list[StagedFile]:
        """The files that go when the execution fails."""
        return [data for data in self.data.values() if isinstance(data, StagedFile)]
