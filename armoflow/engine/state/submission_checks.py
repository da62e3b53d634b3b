"""What a submission is refused for, before anything of it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from armoflow.engine.records import (
    ApiOptions,
    NewTask,
    RefusedInputsError,
    ResultRecord,
    SessionRecord,
    StateError,
    TaskRecord,
)
from armoflow.engine.state.record_changes import (
    ABORTED,
    CREATED,
    DELETED,
)
from armoflow.engine.state.result_commands import ResultCommands, first_duplicate
from armoflow.engine.state.task_options import check_request_options, check_task_options
from armoflow.protocol.shapes import ID

Checked: TypeAlias = "tuple[NewTask, ApiOptions, Sequence[ResultRecord], Sequence[ResultRecord]]"
"""A task that may be created: what was asked, its options, its inputs and its outputs."""

Find: TypeAlias = "Callable[[str], ResultRecord | None]"
"""How results are looked up."""


class SubmissionChecks(ResultCommands):
    """The checks of a submission, in the order of ArmoniK.Core."""

    def _check_client_tasks(
        self, session: SessionRecord, request_options: ApiOptions | None, tasks: Sequence[NewTask]
    ) -> list[Checked]:
        base = session.options
        if request_options is not None:
            base = self._options.merge(base, request_options)
        check_request_options(base, session, self.max_priority, strict=self.strict)
        if not session.client_submission:
            raise StateError(
                "FAILED_PRECONDITION",
                f"session {session.id} takes no more tasks of clients: it is "
                f"{session.status.name.lower()} with its submission stopped; create another",
            )
        options = self._merge_all(base, [new.options for new in tasks])
        return self._check_tasks(session.id, options, tasks, None)

    def _check_may_submit(self, task: TaskRecord) -> None:
        if not task.may_submit:
            raise StateError(
                "UNKNOWN" if self.strict else "FAILED_PRECONDITION",
                f"session {task.session_id} took no more tasks of tasks when {task.id} started",
            )

    def _merge_all(self, base: ApiOptions, levels: Iterable[ApiOptions | None]) -> list[ApiOptions]:
        """Each task's merged options; the same object merges to the same object, checked once.

        Strict: not checked, as in ArmoniK.Core, which looks only at the request's.
        """
        merged: dict[int, ApiOptions] = {}
        options = []
        for level in levels:
            option = merged.get(id(level))
            if option is None:
                option = self._options.merge(base, level)
                if not self.strict:
                    check_task_options(option, self.partitions, self.max_priority)
                merged[id(level)] = option
            options.append(option)
        return options

    def _check_tasks(
        self,
        session_id: str,
        options: Iterable[ApiOptions],
        tasks: Sequence[NewTask],
        parent: TaskRecord | None,
        find: Find | None = None,
    ) -> list[Checked]:
        if find is None:
            find = self.results.get
        checked: list[Checked] = []
        outputs_named = 0
        claimed: set[str] = set()
        for new, option in zip(tasks, options, strict=True):
            _, payload_id, dependencies, output_ids, _ = new
            payload = find(payload_id)
            if payload is None or payload.status is ABORTED or payload.status is DELETED:
                raise self._input_refusal(tasks, find)
            inputs: Sequence[ResultRecord] = (payload,)
            if dependencies:
                inputs = self._check_dependencies(tasks, new, payload, find)
            outputs = []
            for output_id in output_ids:
                if (output_id == payload_id or output_id in dependencies) and not self.strict:
                    raise _output_is_input(new, output_id)
                output = find(output_id)
                if output is None or output.status is not CREATED or output.owner_task_id:
                    output = self._check_output(new, output, output_id, parent)
                if output is not None:
                    if output.session_id != session_id and not self.strict:
                        raise _output_elsewhere(new, output_id, session_id)
                    outputs.append(output)
            outputs_named += len(output_ids)
            claimed.update(output_ids)
            checked.append((new, option, inputs, outputs))
        if len(claimed) != outputs_named and parent is None and not self.strict:
            twice = first_duplicate(output for new in tasks for output in new.outputs)
            raise output_named_twice(twice)
        self._check_task_ids(tasks)
        return checked

    def _check_dependencies(
        self, tasks: Sequence[NewTask], new: NewTask, payload: ResultRecord, find: Find
    ) -> list[ResultRecord]:
        inputs = [payload]
        for dependency in new.dependencies:
            result = find(dependency)
            if result is None or result.status is ABORTED or result.status is DELETED:
                raise self._input_refusal(tasks, find)
            inputs.append(result)
        if len({new.payload_id, *new.dependencies}) != len(inputs):
            raise RefusedInputsError(
                "UNKNOWN" if self.strict else "INVALID_ARGUMENT",
                f"task {new.id}: data_dependencies names a result twice, or the payload "
                f"{new.payload_id}: name each input once",
            )
        return inputs

    def _input_refusal(self, tasks: Iterable[NewTask], find: Find) -> RefusedInputsError:
        """Why inputs are refused; all that are aborted or deleted are named."""
        bad: dict[str, ResultRecord] = {}
        for new in tasks:
            for result_id in (new.payload_id, *new.dependencies):
                result = find(result_id)
                if result is None:
                    role = "payload_id" if result_id == new.payload_id else "data_dependencies"
                    return RefusedInputsError(
                        "NOT_FOUND",
                        f"task {new.id}: {role} names result {result_id!r}, which does not exist: "
                        "create it first",
                    )
                if result.status in (ABORTED, DELETED):
                    bad[result_id] = result
        listed = ", ".join(f"{result.id} ({result.status.name.lower()})" for result in bad.values())
        return RefusedInputsError(
            "FAILED_PRECONDITION",
            f"{len(bad)} input(s) are aborted or deleted: {listed}; submit without the tasks that "
            "need them",
            list(bad),
        )

    def _check_output(
        self,
        new: NewTask,
        output: ResultRecord | None,
        output_id: str,
        parent: TaskRecord | None,
    ) -> ResultRecord | None:
        """An expected output that is not simply free: the parent's to give, or refused.

        A child may name what another task owns, or a brother took over: whoever is first completes
        it. Strict: all may, unknown outputs too, and nothing is changed about these.
        """
        owner = "" if output is None else output.owner_task_id
        is_open = output is not None and (output.status is CREATED or self.strict)
        if is_open and parent is not None:
            return output if owner == parent.id or not owner else None
        if self.strict:
            if output is None and output_id and not ID.fits(output_id):
                text = f"task {new.id}: expected output {output_id!r} is no id"
                raise StateError("INVALID_ARGUMENT", text)
            return None if owner else output
        if output is None:
            raise StateError(
                "NOT_FOUND",
                f"task {new.id}: expected_output_keys names result {output_id!r}, which does not "
                "exist: create it first",
            )
        state = output.status.name.lower()
        if owner:
            state += f", to be produced by {owner}"
        raise StateError(
            "FAILED_PRECONDITION",
            f"task {new.id}: expected output {output_id} is {state}: a task's outputs are results "
            "that have no data and no owner",
        )

    def _check_task_ids(self, tasks: Sequence[NewTask]) -> None:
        ids = {new.id for new in tasks}
        if len(ids) != len(tasks) or not self.tasks.keys().isdisjoint(ids):
            raise StateError(
                "INTERNAL" if self.strict else "ALREADY_EXISTS",
                "a task's id is taken already: give each task an id of its own",
            )


def _output_elsewhere(new: NewTask, output_id: str, session_id: str) -> StateError:
    return StateError(
        "NOT_FOUND",
        f"task {new.id}: expected output {output_id} does not exist in session {session_id}: a "
        "task's outputs are results of its own session",
    )


def _output_is_input(new: NewTask, output_id: str) -> StateError:
    return StateError(
        "INVALID_ARGUMENT",
        f"task {new.id}: result {output_id} is both an input and an expected output: the "
        "task would wait for itself",
    )


def output_named_twice(twice: str | None) -> StateError:
    """The refusal of tasks two of which would produce one result."""
    return StateError(
        "INVALID_ARGUMENT",
        f"expected output {twice} is named twice in one submission: one task produces a result",
    )
