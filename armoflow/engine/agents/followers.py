"""Tasks that are sent to a child behind the one task that they wait for.

A chain would cost a way to the child and back for every step. So where a child has room left, the
one task that waits only for a task's only output goes along with it: the child passes the output on
itself. Whenever it has room again the chain goes on behind what it still has, so that it seldom
waits for the engine. Nobody sees a difference: in the engine a follower is queued and started when
its leader's success is applied, before its own end is; and if the leader fails, is replaced by a
graph, or goes elsewhere, the child gives the follower back untouched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from armoflow.engine.records import SessionStatus, TaskRecord, TaskStatus
from armoflow.engine.state import State
from armoflow.worker.data import DataSource
from armoflow.worker.home import USUAL
from armoflow.worker.prefetch import LARGEST
from armoflow.worker.preparations import requirements_of
from armoflow.worker.supervisor import ChildSupervisor
from armoflow.worker.work import Assignment


class Follower(NamedTuple):
    """A follower, the seat that has it, and what it waits for there."""

    seat: ChildSupervisor
    work: Assignment
    leader: Assignment


class Followers:
    """The followers of one lane that their leaders have not reached yet.

    Args:
        state: The engine's state.
        partition: The lane's partition.
        peek: Data of a completed result, if it is in memory or a file.
        make: Makes the work of a task of its payload and inputs.
        runs: Whether this work runs for its task now, at this seat.
        may_follow: Whether a task needs nothing but its inputs to run.
    """

    def __init__(
        self,
        state: State,
        partition: str,
        peek: Callable[[str], DataSource | None],
        make: Callable[[TaskRecord, DataSource, dict[str, DataSource]], Assignment],
        runs: Callable[[ChildSupervisor, Assignment], bool],
        *,
        may_follow: Callable[[TaskRecord], bool],
    ) -> None:
        self._state = state
        self._partition = partition
        self._peek = peek
        self._make = make
        self._runs = runs
        self._needs_no_more = may_follow
        self._by_leader: dict[str, Follower] = {}
        self._following: dict[str, Follower] = {}
        self._ends: dict[ChildSupervisor, deque[Assignment]] = {}  # the last that seats got

    def extend(self, seat: ChildSupervisor, works: list[Assignment], room: int) -> None:
        """Add to the tasks for a seat those that follow them, as far as there is room."""
        ends = self._ends.setdefault(seat, deque(maxlen=LARGEST))
        ends.extend(works)
        self._follow(seat, ends, works, room)

    def more(self, seat: ChildSupervisor) -> list[Assignment]:
        """What goes on behind the last tasks that a seat got, if it has room again."""
        works: list[Assignment] = []
        ends = self._ends.get(seat)
        if ends:
            self._follow(seat, ends, works, seat.room)
        return works

    def _follow(
        self, seat: ChildSupervisor, ends: deque[Assignment], works: list[Assignment], room: int
    ) -> None:
        while ends and len(works) < room:
            leader = ends.popleft()
            work = self._find(leader) if self._may_lead(seat, leader) else None
            if work is not None:
                follower = Follower(seat, work, leader)
                self._by_leader[leader.task_id] = self._following[work.task_id] = follower
                works.append(work)
                ends.append(work)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._by_leader)

    def waits(self, task_id: str) -> bool:
        """Whether a task is a follower whose leader's success was not applied yet."""
        return task_id in self._following

    def work_of(self, task_id: str) -> Assignment | None:
        """The work of a task that is a follower: its child may have begun it already."""
        follower = self._following.get(task_id)
        return None if follower is None else follower.work

    def after(self, leader_id: str) -> Follower | None:
        """The follower of a task that has ended, or is not run: it is one no longer."""
        follower = self._by_leader.pop(leader_id, None)
        if follower is not None:
            del self._following[follower.work.task_id]
        return follower

    def forget(self, work: Assignment) -> None:
        """This neither follows nor leads any more; what runs for its task elsewhere still may."""
        following = self._following.get(work.task_id)
        if following is not None and following.work is work:
            self.after(following.leader.task_id)
        follower = self._by_leader.get(work.task_id)
        if follower is not None and follower.leader is work:
            self.after(work.task_id)

    def _find(self, leader: Assignment) -> Assignment | None:
        if len(leader.outputs) != 1:
            return None
        output = leader.outputs[0]
        result = self._state.results.get(output)
        if result is None or result.dependents is None or len(result.dependents) != 1:
            return None
        task = self._state.tasks.get(result.dependents[0])
        if task is None or not self._may_follow(task):
            return None
        payload = self._peek(task.payload_id)
        if payload is None:
            return None
        inputs: dict[str, DataSource] = {}
        for result_id in task.dependencies:
            if result_id != output:
                data = self._peek(result_id)
                if data is None:
                    return None
                inputs[result_id] = data
        work = self._make(task, payload, inputs)
        work.passed = [output]
        return work

    def _may_lead(self, seat: ChildSupervisor, leader: Assignment) -> bool:
        """Whether it has no follower yet, and has neither ended nor gone elsewhere."""
        if leader.task_id in self._by_leader or leader.home != USUAL:
            return False
        following = self._following.get(leader.task_id)
        if following is not None:
            return following.seat is seat and following.work is leader
        return self._runs(seat, leader)

    def _may_follow(self, task: TaskRecord) -> bool:
        return (
            task.status is TaskStatus.PENDING
            and task.remaining == 1
            and task.options.partition_id == self._partition
            and self._needs_no_more(task)
            and not requirements_of(task.options.options)
            and task.id not in self._following
            and self._state.sessions[task.session_id].status is SessionStatus.RUNNING
        )
