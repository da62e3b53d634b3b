"""Commands of clients and agents in any order, with crashes, on one state."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from properties import Properties
from state_driver import OPTIONS, Driver

from armoflow.agent.effects import CreatedResult
from armoflow.engine.records import (
    FINAL,
    ApiOptions,
    Changes,
    NewResult,
    NewTask,
    ResultRecord,
    ResultStatus,
    SessionStatus,
    StateError,
    Stored,
    TaskRecord,
    TaskStatus,
)
from tests.model.properties import Cause, Property

SOME_OPTIONS = st.sampled_from(
    [None, None, ApiOptions(priority=3), ApiOptions(max_retries=-1), ApiOptions(priority=99)]
)


class AnyCommands(RuleBasedStateMachine):
    """One state under random clients and agents; its options come with the subclass."""

    delete_payload = False
    slice_size = sys.maxsize
    strict = False

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(
            delete_payload=self.delete_payload, slice_size=self.slice_size, strict=self.strict
        )
        self.properties = Properties(self.driver)
        self.numbers = count()
        self.batches: list[tuple[Any, ...]] = []
        self.running: dict[str, str] = {}
        self.payloads: set[str] = set()

    @property
    def state(self) -> Any:
        return self.driver.state

    def give_waiver(self, cause: Cause, ids: Iterable[str]) -> None:
        self.properties.waivers.give(cause, *ids)

    def do(self, command: str, *arguments: Any, **options: Any) -> Changes | None:
        """Run a command; a refusal must have changed nothing."""
        try:
            changes = self.driver.do(command, *arguments, **options)
        except StateError:
            self.properties.observe(Changes())
            return None
        self.properties.observe(changes)
        return changes

    def new_id(self, prefix: str) -> str:
        return f"{prefix}{next(self.numbers)}"

    def new_data(self) -> Stored:
        return Stored(self.new_id("object").encode(), 1)

    def give(self, *stored: Stored) -> None:
        """Data that the state machine now answers for."""
        self.properties.given |= {data.opaque_id for data in stored}

    def tasks(self, *statuses: TaskStatus) -> list[str]:
        return sorted(i for i, task in self.state.tasks.items() if task.status in statuses)

    def results(self, wanted: Callable[[ResultRecord], bool]) -> list[str]:
        return sorted(i for i, result in self.state.results.items() if wanted(result))

    def pick(
        self, data: st.DataObject, ids: Sequence[str], most: int = 1, *, least: int = 1
    ) -> list[str]:
        """Some of these, where there are any."""
        if not ids:
            return []
        ids = list(dict.fromkeys(ids))
        size = {"min_size": min(least, len(ids)), "max_size": most}
        return data.draw(st.lists(st.sampled_from(ids), unique=True, **size))

    def a_session(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.state.sessions) or ["nobody"]))

    # --- clients ---

    @initialize()
    def first_session(self) -> None:
        self.do("create_session", "first", OPTIONS, [])

    @precondition(lambda self: len(self.state.sessions) < 3)
    @rule()
    def create_session(self) -> None:
        self.do("create_session", self.new_id("s"), OPTIONS, [])

    @rule(data=st.data(), manual=st.booleans())
    def create_data(self, data: st.DataObject, manual: bool) -> None:
        stored = self.new_data()
        new = NewResult(self.new_id("d"), "data", manual, stored)
        if self.do("create_results", self.a_session(data), [new]) is not None:
            self.give(stored)
            self.properties.observe(Changes())

    @rule(data=st.data(), together=st.booleans(), uploaded=st.booleans())
    def submit(self, data: st.DataObject, together: bool, uploaded: bool) -> None:
        """A few tasks, which may need anything that exists and the outputs of those before."""
        session = self.a_session(data)
        results: list[NewResult] = []
        tasks: list[NewTask] = []
        existing = self.results(self._may_be_shared)
        for _ in range(data.draw(st.integers(1, 3))):
            payload, *outputs = (self.new_id("r") for _ in range(data.draw(st.integers(1, 3))))
            self.payloads.add(payload)
            before = [output for task in tasks for output in task.outputs]
            needs = self.pick(data, existing + before, most=2, least=0)
            manual = data.draw(st.booleans())
            results += [NewResult(i, "r", manual) for i in (payload, *outputs)]
            task_id, options = self.new_id("t"), data.draw(SOME_OPTIONS)
            tasks.append(NewTask(task_id, payload, tuple(needs), tuple(outputs), options))
        payloads = [(task.payload_id, self.new_data()) for task in tasks if uploaded]
        self._submit(together, session, results, tasks, payloads)

    @rule(data=st.data())
    def submit_for_another(self, data: st.DataObject) -> None:
        """A task that is to produce what is there already.

        It needs what is completed, or clients could let tasks wait for each other in a circle.
        """
        session = self.a_session(data)
        payload, stored = self.new_id("r"), self.new_data()
        new = NewResult(payload, "r", False, stored)
        outputs = self.pick(data, sorted(self.state.results))
        if not outputs or self.do("create_results", session, [new]) is None:
            return
        self.give(stored)
        self.payloads.add(payload)
        self._disowned(outputs)
        self.do("submit_tasks", session, None, [NewTask(self.new_id("t"), payload, (), outputs)])

    def _disowned(self, ids: Sequence[str]) -> None:
        """Another task, or whoever uploads to what is open, may produce these, too."""
        self.give_waiver(Cause.REPLACED, ids)
        for result in map(self.state.results.__getitem__, ids):
            self.give_waiver(Cause.DISOWNED, [result.id, result.owner_task_id])

    def _may_be_shared(self, result: ResultRecord) -> bool:
        """Where payloads go with their task, nothing else may need them."""
        return not self.delete_payload or result.id not in self.payloads

    def _submit(
        self, together: bool, session: str, results: Any, tasks: Any, payloads: Any
    ) -> None:
        data = [stored for _, stored in payloads]
        if together:
            changes = self.do("submit_with_data", session, results, tasks, payloads)
            if changes is not None:
                self.give(*data)
                self.batches.append((session, results, tasks, payloads))
        elif (
            self.do("create_results", session, results) is not None
            and self.do("submit_tasks", session, None, tasks) is not None
            and self.do("complete_results", session, payloads) is not None
        ):
            self.give(*data)
        self.properties.observe(Changes())

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def repeat_a_batch(self, data: st.DataObject) -> None:
        """After an unknown outcome: nothing new comes of it, whatever happened since."""
        session, results, tasks, payloads = data.draw(st.sampled_from(self.batches))
        if self.properties.waivers.cover(Property.OWNER, *(i for t in tasks for i in t.outputs)):
            return  # of a task that has ended nothing but the owner of its outputs is left
        stored = [(result_id, self.new_data()) for result_id, _ in payloads]
        known = set(self.properties.tasks)
        if self.do("submit_with_data", session, results, tasks, stored) is not None:
            self.give(*(each for _, each in stored))
        self.properties.observe(Changes())
        assert set(self.properties.tasks) == known

    @precondition(lambda self: self.state.results)
    @rule(data=st.data())
    def upload(self, data: st.DataObject) -> None:
        for result_id in self.pick(data, sorted(self.state.results)):
            stored = self.new_data()
            result = self.state.results[result_id]
            session = result.session_id
            if result.status is not ResultStatus.CREATED or result.owner_task_id:
                self.give_waiver(Cause.REPLACED, [result_id])
            if self.do("complete_results", session, [(result_id, stored)]) is not None:
                self.give(stored)
                self.properties.observe(Changes())

    @precondition(lambda self: self.results(lambda result: bool(result.opaque_id)))
    @rule(data=st.data())
    def import_data(self, data: st.DataObject) -> None:
        sources = self.results(lambda result: bool(result.opaque_id))
        targets = self.results(lambda result: result.status is ResultStatus.CREATED)
        if sources and targets:
            source = self.state.results[data.draw(st.sampled_from(sources))]
            target = self.state.results[data.draw(st.sampled_from(targets))]
            stored = Stored(source.opaque_id, source.size)
            self.properties.imported.add(source.opaque_id)
            if target.owner_task_id:
                self.give_waiver(Cause.REPLACED, [target.id])
            self.do("import_results", target.session_id, [(target.id, stored)])

    @precondition(lambda self: self.state.results)
    @rule(data=st.data())
    def delete_results(self, data: st.DataObject) -> None:
        ids = self.pick(data, sorted(self.state.results), most=2)
        self._gone(self.state.results[i] for i in ids)
        self.do("delete_results", ids)

    def _gone(self, results: Iterable[ResultRecord]) -> None:
        """A client removes these, whoever needs them."""
        for result in results:
            self.give_waiver(Cause.INPUT_DELETED, [result.id])
            if result.status is ResultStatus.CREATED:
                self.give_waiver(Cause.OPEN_DELETED, [result.id])

    @precondition(lambda self: self.state.tasks)
    @rule(data=st.data())
    def cancel_tasks(self, data: st.DataObject) -> None:
        ids = self.pick(data, sorted(self.properties.tasks), most=2)
        self._never_queued(task for i in ids if (task := self.state.tasks.get(i)) is not None)
        self.do("cancel_tasks", ids)

    def _aborted(self, results: Iterable[ResultRecord]) -> None:
        """Of the end of their session those who wait for them in another one do not hear."""
        open_ones = (r.id for r in results if r.status is ResultStatus.CREATED)
        self.give_waiver(Cause.OTHER_CANCELLED, open_ones)

    def _never_queued(self, tasks: Iterable[TaskRecord]) -> None:
        """These are cancelled; of those that wait no agent hears."""
        waiting = (TaskStatus.CREATING, TaskStatus.PENDING, TaskStatus.PAUSED)
        self.give_waiver(Cause.NEVER_QUEUED, (t.id for t in tasks if t.status in waiting))

    @rule(data=st.data(), client=st.sampled_from([False, False, True]), worker=st.booleans())
    def stop_submission(self, data: st.DataObject, client: bool, worker: bool) -> None:
        self.do("stop_submission", self.a_session(data), client, worker)

    @rule(data=st.data(), command=st.sampled_from(["pause_session", "resume_session"]))
    def hold(self, data: st.DataObject, command: str) -> None:
        self.do(command, self.a_session(data))

    @rule(
        data=st.data(),
        command=st.sampled_from(
            ["close_session", "cancel_session", "purge_session", "delete_session"]
        ),
        chance=st.integers(0, 4),
    )
    def end_session(self, data: st.DataObject, command: str, chance: int) -> None:
        """Seldom, or there would be little left to do."""
        if chance < 4:
            return
        session_id = self.a_session(data)
        members = [r for r in self.state.results.values() if r.session_id == session_id]
        if command in ("purge_session", "delete_session"):
            self._gone(members)
        if command == "cancel_session":
            tasks = self.state.tasks.values()
            self._never_queued(task for task in tasks if task.session_id == session_id)
            self._aborted(members)
        manual = {result.opaque_id for result in members if result.manual_deletion}
        if command == "delete_session":
            # Nobody but their importers can reach them any more.
            self.properties.given -= manual
        self.do(command, session_id)

    # --- agents ---

    @precondition(lambda self: self.tasks(TaskStatus.SUBMITTED))
    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        ids = self.pick(data, self.tasks(TaskStatus.SUBMITTED, TaskStatus.PENDING), most=3)
        changes = self.do("run", ids, agent := self.new_id("agent"))
        assert changes is not None
        for task in changes.tasks.values():
            if task.status is TaskStatus.PROCESSING:
                self._starts(task, agent)

    @precondition(lambda self: self.tasks(TaskStatus.SUBMITTED))
    @rule(data=st.data())
    def acquire(self, data: st.DataObject) -> None:
        for task_id in self.pick(data, sorted(self.state.tasks)):
            self.do("acquire", task_id, self.new_id("agent"))

    @precondition(lambda self: self.tasks(TaskStatus.DISPATCHED))
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        for task_id in self.pick(data, sorted(self.state.tasks)):
            if self.do("start", task_id) is not None:
                task = self.state.tasks[task_id]
                self._starts(task, task.owner)

    def _starts(self, task: TaskRecord, agent: str) -> None:
        assert task.id not in self.running, "a task runs on one agent at a time"
        self.running[task.id] = agent

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def put_behind(self, data: st.DataObject) -> None:
        behind = self.pick(data, sorted(self.running))
        self.do("put_behind", behind)
        for task_id in behind:
            self.running.pop(task_id)

    @precondition(lambda self: self.running or self.tasks(TaskStatus.DISPATCHED))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        for task_id in self.pick(data, sorted(self.running) + self.tasks(TaskStatus.DISPATCHED)):
            self.do("release", task_id)
            self.running.pop(task_id, None)

    @precondition(lambda self: self.running or self.tasks(TaskStatus.DISPATCHED))
    @rule(data=st.data(), retry=st.sampled_from([True, True, False]), timeout=st.booleans())
    def fail(self, data: st.DataObject, retry: bool, timeout: bool) -> None:
        status = TaskStatus.TIMEOUT if timeout and not retry else TaskStatus.ERROR
        for task_id in self.pick(data, sorted(self.running) + self.tasks(TaskStatus.DISPATCHED)):
            self.do("fail_task", task_id, "boom", status=status, retry=retry)
            self.running.pop(task_id, None)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        for task_id in self.pick(data, sorted(self.running)):
            task = self.state.tasks.get(task_id)
            if task is None or task.status is TaskStatus.CANCELLING:
                self.do("stopped", [task_id])
                del self.running[task_id]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), together=st.booleans())
    def complete(self, data: st.DataObject, together: bool) -> None:
        ids = self.pick(data, sorted(self.running), most=3 if together else 1)
        commits = [self._commit(data, task_id) for task_id in ids]
        stored = [each for commit in commits for each in commit[2].values()]
        if together:
            self.do("complete_tasks", commits)
            for task_id, created, data_of, children in commits:
                if children and task_id not in self.tasks(TaskStatus.COMPLETED):
                    made = [*(one.id for one in created), *data_of]
                    self.give_waiver(Cause.CHILD_REFUSED, made)
        elif commits and self.do("complete_task", *commits[0]) is None:
            return
        self.give(*stored)
        self.properties.observe(Changes())
        for task_id in ids:
            del self.running[task_id]

    def _commit(self, data: st.DataObject, task_id: str) -> tuple[str, Any, Any, Any]:
        """A success that produces, hands on or forgets each output, with children at will."""
        task = self.state.tasks.get(task_id)
        outputs = list(task.outputs) if task is not None else []
        handed = self.pick(data, outputs, most=2, least=0)
        forgotten = self.pick(data, outputs) if data.draw(st.integers(0, 4)) == 0 else []
        if set(forgotten) - set(handed):
            self.give_waiver(Cause.FORGOTTEN, [task_id, *forgotten])
        produced = [i for i in outputs if i not in handed and i not in forgotten]
        created: list[str] = []
        children: list[NewTask] = []
        ready = [
            result_id
            for result_id in self.results(self._may_be_shared)
            if self.state.results[result_id].status is ResultStatus.COMPLETED
        ]
        for output in handed:
            payload = self.new_id("r")
            self.payloads.add(payload)
            created.append(payload)
            produced.append(payload)
            needs = self.pick(data, ready, least=0)
            options = data.draw(SOME_OPTIONS)
            child = NewTask(self.new_id("t"), payload, tuple(needs), (output,), options)
            ready.append(output)
            children.append(child)
        named = [CreatedResult(result_id, "made") for result_id in created]
        return task_id, named, {i: self.new_data() for i in produced}, children

    # --- the engine ---

    @precondition(lambda self: self.state.unfinished)
    @rule()
    def go_on(self) -> None:
        self.do("go_on")

    @rule()
    def crash(self) -> None:
        self.running.clear()
        self.properties.given -= self.driver.journal.remove_deleted_sessions()
        changes = self.driver.crash()
        self.properties.observe(changes)

    @rule()
    def evict(self) -> None:
        for task_id in self.tasks(*FINAL):
            self.state.evict([task_id])
            del self.driver.journal.tasks[task_id]
        deleted = self.results(lambda result: result.status is ResultStatus.DELETED)
        self.state.evict_results(deleted)

    # --- progress ---

    def teardown(self) -> None:
        """Clients upload what is waited for and agents run what is queued: all must end."""
        while self.state.unfinished:
            self.do("go_on")
        for _ in range(10 * len(self.state.tasks) + 10):
            live = [task for task in self.state.tasks.values() if task.status not in FINAL]
            if not live:
                break
            self._advance(live)
        assert not self._unfinished(), "some tasks never end"
        assert not self.results(
            lambda result: result.status is ResultStatus.CREATED and self._is_owned(result)
        )

    def _unfinished(self) -> list[TaskRecord]:
        """Tasks that will not end, though no exception is made of what they wait for."""
        left = {i: task for i, task in self.state.tasks.items() if task.status not in FINAL}
        stuck: set[str] = set()
        while more := {i for i in left.keys() - stuck if self._is_stuck(left[i], stuck)}:
            stuck |= more
        return [left[i] for i in sorted(left.keys() - stuck)]

    def _is_stuck(self, task: TaskRecord, stuck: set[str]) -> bool:
        inputs = (task.payload_id, *task.dependencies)
        known = (result for i in inputs if (result := self.state.results.get(i)) is not None)
        return self.properties.waivers.cover(Property.ENDS, task.id, *inputs) or any(
            result.owner_task_id in stuck for result in known
        )

    def _is_owned(self, result: ResultRecord) -> bool:
        """Whether somebody is to produce it, and an end of that can be expected."""
        owner = self.state.tasks.get(result.owner_task_id)
        waivers = self.properties.waivers
        if owner is None or owner.status in FINAL:
            return bool(result.owner_task_id) and not waivers.cover(Property.OWNER, result.id)
        return owner in self._unfinished()

    def _advance(self, live: Sequence[TaskRecord]) -> None:
        while self.state.unfinished:
            self.do("go_on")
        for session in list(self.state.sessions.values()):
            if session.status is SessionStatus.PAUSED:
                self.do("resume_session", session.id)
        unheard = self.properties.waivers.cover
        cancelling = self.tasks(TaskStatus.CANCELLING)
        self.do("stopped", [i for i in cancelling if not unheard(Property.DRAINS, i)])
        for task_id in self.tasks(TaskStatus.DISPATCHED):
            self.do("start", task_id)
        for task_id in self.tasks(TaskStatus.PROCESSING):
            outputs = {i: self.new_data() for i in self.state.tasks[task_id].outputs}
            self.do("complete_task", task_id, [], outputs, [])
        for task in live:
            for result_id in (task.payload_id, *task.dependencies):
                result = self.state.results.get(result_id)
                if result and result.status is ResultStatus.CREATED and not result.owner_task_id:
                    data = [(result_id, self.new_data())]
                    self.do("complete_results", result.session_id, data)
        self.do("run", self.tasks(TaskStatus.SUBMITTED), "the last agent")
