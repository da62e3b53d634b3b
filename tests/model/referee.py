"""Looks at an engine that has come to rest, and says which property does not hold."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from armoflow.engine.records import FINAL, ResultStatus, SessionStatus, TaskStatus

from .calls import Calls, Snapshot
from .process import SEATS
from .properties import Property, Waivers
from .stand_ins import StandIns

PATIENCE = 60.0

T, R, S, P = TaskStatus, ResultStatus, SessionStatus, Property

SESSION_ENDS = (S.CLOSED, S.CANCELLED, S.PURGED)
RESULT_ENDS = {
    R.COMPLETED: {R.COMPLETED, R.DELETED},
    R.ABORTED: {R.ABORTED, R.DELETED},
    R.DELETED: {R.DELETED},
}
QUEUED = {T.SUBMITTED, T.DISPATCHED, T.PROCESSING, T.PAUSED}


class Referee:
    """What is known of an engine from outside, and what must hold of it.

    Attributes:
        seen: The engine as it was when it last came to rest.
    """

    def __init__(self, calls: Calls, workers: StandIns, waivers: Waivers) -> None:
        self._calls = calls
        self._workers = workers
        self._waivers = waivers
        self.seen = Snapshot({}, {}, {})
        self._sessions: dict[str, SessionStatus] = {}
        self._tasks: dict[str, tuple[str, TaskStatus]] = {}
        self._results: dict[str, tuple[str, ResultStatus]] = {}
        self._offered: dict[str, set[bytes]] = defaultdict(set)
        self._makers: dict[bytes, str] = {}
        self._read: dict[str, tuple[bytes, bytes]] = {}
        self._given: set[str] = set()

    # --- what was asked for ---

    def offer(self, result_id: str, data: bytes, maker: str = "") -> None:
        """These may be a result's data from now on; of a task's, if it ends well."""
        self._offered[result_id].add(data)
        if maker:
            self._makers[data] = maker

    def offer_same(self, result_id: str, source: str) -> None:
        """A result may take over another one's data."""
        self._offered[result_id] |= self._offered[source]

    def acknowledged(
        self, session_id: str, *, tasks: Iterable[str] = (), results: Any = ()
    ) -> None:
        """What the engine has said it has; it may not be lost."""
        for task_id in tasks:
            self._tasks.setdefault(task_id, (session_id, T.CREATING))
        for result_id in results:
            self._results.setdefault(result_id, (session_id, R.CREATED))

    # --- rest ---

    def watch(self, *, again: bool = False) -> Snapshot:
        """Wait until the engine has nothing left to do, and check all properties.

        Args:
            again: Read all data again, as after a restart.
        """
        deadline = time.monotonic() + PATIENCE
        pause = 0.001
        while unrest := list(self._unrest(seen := self._calls.look())):
            assert time.monotonic() < deadline, f"{P.ENDS.value}: {unrest}"
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        broken = [f"{which.value}: {what}" for which, what in self._broken(seen, again=again)]
        assert not broken, "\n".join(broken)
        self.seen = seen
        return seen

    def _unrest(self, seen: Snapshot) -> Iterator[str]:
        """What the engine has to do still."""
        held = self._workers.held()
        for task in seen.tasks.values():
            status = T(task.status)
            if status in FINAL:
                continue
            inputs = self._inputs(seen, task)
            waived = self._waivers.cover(P.ENDS, task.id, task.payload_id, *task.data_dependencies)
            if status is T.PROCESSING:
                if task.id not in held:
                    yield f"{task.id} is not with a worker yet"
            elif status is T.SUBMITTED:
                # Strict: what is queued in a session that was closed is cancelled by its agent.
                free = len(held) < SEATS
                running = seen.sessions.get(task.session_id) is S.RUNNING
                if free or not (running or self._waivers.strict):
                    yield f"{task.id} is to be run, or cancelled"
            elif status is T.PENDING:
                if not waived and (inputs <= {R.COMPLETED} or R.ABORTED in inputs):
                    yield f"{task.id} has nothing to wait for"
            elif status is not T.PAUSED and not waived:
                yield f"{task.id} is {status.name}"
            session = seen.sessions.get(task.session_id)
            if session in (None, S.CANCELLED, S.PURGED) and not (
                waived or (status is T.PROCESSING and session is S.PURGED)
            ):
                yield f"{task.id} is {status.name} in a session that has ended"
        for task_id in held:
            if task_id not in seen.tasks or T(seen.tasks[task_id].status) is not T.PROCESSING:
                yield f"{task_id} is with a worker"

    def _inputs(self, seen: Snapshot, task: Any) -> set[ResultStatus]:
        """The statuses of a task's inputs; of those whose session is gone, deleted."""
        ids = (task.payload_id, *task.data_dependencies)
        return {R(seen.results[i].status) if i in seen.results else R.DELETED for i in ids}

    # --- the properties ---

    def _broken(self, seen: Snapshot, *, again: bool) -> Iterator[tuple[Property, str]]:
        for task_id in self._workers.doubled:
            yield P.ONE_AGENT, task_id
        yield from self._left(seen)
        yield from self._unlike(seen, again=again)
        yield from self._without_effect(seen)
        yield from self._unready(seen)
        yield from self._misread(seen)
        yield from self._unfollowed(seen)
        yield from self._unowned(seen)
        self._remember(seen)

    def _left(self, seen: Snapshot) -> Iterator[tuple[Property, str]]:
        """Final states that were left, and what was lost."""
        for session_id, before in self._sessions.items():
            status = seen.sessions.get(session_id)
            if status is not None and before in SESSION_ENDS and status not in SESSION_ENDS:
                yield P.FINAL, f"session {session_id} was {before.name}, is {status.name}"
        for task_id, (session_id, was) in self._tasks.items():
            if session_id in seen.sessions:
                now = T(seen.tasks[task_id].status) if task_id in seen.tasks else None
                if now is None or (was in FINAL and now is not was):
                    yield P.FINAL, f"task {task_id} was {was.name}, is {now and now.name}"
        for result_id, (session_id, is_known) in self._results.items():
            if session_id not in seen.sessions:
                continue
            found = seen.results.get(result_id)
            ends = RESULT_ENDS.get(is_known, set(R))
            if found is None or R(found.status) not in ends:
                which = P.DELETED if is_known is R.DELETED else P.FINAL
                if found is None or not self._waivers.cover(which, result_id):
                    is_now = found and R(found.status).name
                    yield which, f"result {result_id} was {is_known.name}, is {is_now}"

    def _unlike(self, seen: Snapshot, *, again: bool) -> Iterator[tuple[Property, str]]:
        """Data that nobody gave, or that has changed."""
        for result in seen.results.values():
            if R(result.status) is not R.COMPLETED:
                continue
            opaque_id, known = self._read.get(result.result_id, (b"", None))
            if known is not None and opaque_id == result.opaque_id and not again:
                continue
            data = self._calls.download(result.session_id, result.result_id)
            if data is None:
                if not self._waivers.cover(P.THERE, result.result_id):
                    yield P.THERE, result.result_id
                continue
            if data not in self._offered[result.result_id]:
                yield P.CREATED, f"{result.result_id} has data that nobody gave it: {data!r:.50}"
            changed = known is not None and data != known
            if changed and not self._waivers.cover(P.DATA, result.result_id):
                yield P.DATA, f"{result.result_id} was {known!r:.50}, is {data!r:.50}"
            self._read[result.result_id] = result.opaque_id, data

    def _without_effect(self, seen: Snapshot) -> Iterator[tuple[Property, str]]:
        """What there is of tasks that did not end well."""
        made = {
            result_id: self._makers[data]
            for result_id, (_, data) in self._read.items()
            if data in self._makers
            and result_id in seen.results
            and R(seen.results[result_id].status) is R.COMPLETED
        }
        made |= {
            each.result_id: each.created_by for each in seen.results.values() if each.created_by
        }
        made |= {
            each.id: each.created_by
            for each in seen.tasks.values()
            if each.created_by and not each.retry_of_ids
        }
        for made_id, maker in made.items():
            task = seen.tasks.get(maker)
            if task is None or T(task.status) is T.COMPLETED:
                continue
            if not self._waivers.cover(P.EFFECTS, made_id, maker):
                yield P.EFFECTS, f"{made_id} of task {maker}, {T(task.status).name}"

    def _unready(self, seen: Snapshot) -> Iterator[tuple[Property, str]]:
        """Tasks in a queue, or with an agent, that lack an input."""
        for task in seen.tasks.values():
            if T(task.status) in QUEUED:
                for result_id in (task.payload_id, *task.data_dependencies):
                    found = seen.results.get(result_id)
                    if found is not None and R(found.status) is R.COMPLETED:
                        continue
                    if not self._waivers.cover(P.INPUTS, result_id, task.id):
                        yield P.INPUTS, f"{task.id} is {T(task.status).name} without {result_id}"

    def _misread(self, seen: Snapshot) -> Iterator[tuple[Property, str]]:
        """Inputs that a worker found other than they are."""
        for held in self._workers.held().values():
            if held.task_id in self._given:
                continue
            self._given.add(held.task_id)
            for result_id in held.inputs:
                data = held.read(result_id)
                if data not in self._offered[result_id]:
                    yield P.INPUTS, f"{held.task_id} read {data!r:.50} for {result_id}"

    def _unfollowed(self, seen: Snapshot) -> Iterator[tuple[Property, str]]:
        """Attempts that have not exactly the successor that they should have."""
        after = Counter(task.retry_of_ids[-1] for task in seen.tasks.values() if task.retry_of_ids)
        for task in seen.tasks.values():
            if after[task.id] != (T(task.status) is T.RETRIED):
                yield P.SUCCESSOR, f"{task.id} ({T(task.status).name}) has {after[task.id]}"

    def _unowned(self, seen: Snapshot) -> Iterator[tuple[Property, str]]:
        """Open outputs that nobody, or somebody else, is to produce."""
        for task in seen.tasks.values():
            for result_id in task.expected_output_ids:
                result = seen.results.get(result_id)
                if result is None or R(result.status) is not R.CREATED:
                    continue
                if self._waivers.cover(P.OWNER, result_id, task.id):
                    continue
                if (T(task.status) in FINAL) == (result.owner_task_id == task.id):
                    what = f"{result_id} of {task.id} ({T(task.status).name})"
                    yield P.OWNER, f"{what} is owned by {result.owner_task_id!r}"

    def _remember(self, seen: Snapshot) -> None:
        self._sessions = dict(seen.sessions)
        self._tasks = {i: (one.session_id, T(one.status)) for i, one in seen.tasks.items()}
        self._results = {i: (one.session_id, R(one.status)) for i, one in seen.results.items()}

    def unfinished(self) -> list[str]:
        """Tasks that will not end, though nobody keeps them from it."""
        left = {i: task for i, task in self.seen.tasks.items() if T(task.status) not in FINAL}
        stuck: set[str] = set()
        while more := {i for i in left.keys() - stuck if self._is_stuck(left[i], stuck)}:
            stuck |= more
        return [self._describe(left[i]) for i in sorted(left.keys() - stuck)]

    def _describe(self, task: Any) -> str:
        """A task with its inputs, for whoever reads why a test failed."""
        inputs = {i: self.seen.results.get(i) for i in (task.payload_id, *task.data_dependencies)}
        shown = [
            f"{i} {R(each.status).name} of {each.owner_task_id!r}" if each else f"{i} unknown"
            for i, each in inputs.items()
        ]
        return f"{task.id} {T(task.status).name} with {'; '.join(shown)}"

    def _is_stuck(self, task: Any, stuck: set[str]) -> bool:
        """Whether it waits for what a waiver covers, or for a task that does."""
        inputs = (task.payload_id, *task.data_dependencies)
        owners = {self.seen.results[i].owner_task_id for i in inputs if i in self.seen.results}
        return self._waivers.cover(P.ENDS, task.id, *inputs) or not stuck.isdisjoint(owners)
