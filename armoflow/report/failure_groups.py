"""What failed, gathered by what it says. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from armoflow.codec.clipping import MARK
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.item_log import ItemRecord, ItemState
from armoflow.report.critical_path import Lineage
from armoflow.report.trace import TaskRun

NOT_KEPT = "only the first errors of a task are kept"
"""What is said of a failed call in place of its error."""

EXAMPLES = 20
"""Tasks that are named of each kind of failure."""

_NUMBERS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|0x[0-9a-f]+|\d+")
"""Ids and addresses, too: what tells one failure from the next of its kind."""


@dataclass(slots=True)
class FailureGroup:
    """FailureGroups that differ in nothing but numbers.

    Attributes:
        headline: What the first one says.
        count: How many there are.
        skipped: How many more did not run because of them.
        trace: The first one's traceback, or an error text that is not armoflow's.
        examples: The first tasks, with what each says.
    """

    headline: str
    count: int = 0
    skipped: int = 0
    trace: str = ""
    examples: list[tuple[TaskRun, str]] = field(default_factory=list)


class FailureGroups:
    """Groups of failures.

    Args:
        lineage: Of the same tasks.
    """

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._groups: dict[tuple[str, str], FailureGroup] = {}

    def add(self, run: TaskRun) -> None:
        """One more task."""
        for headline, trace in run.faults:
            self._add(run, headline, trace, own=True)
        if run.state == "failed":
            told = explain(run.error)
            own = told.own and not self._inherits(run, told.node)
            self._add(run, told.headline, told.trace, own=own)

    def _inherits(self, run: TaskRun, node: str) -> bool:
        """Whether what failed is one of a task's inputs, whose error it repeats as its own."""
        if node in ("", run.name):
            return False
        made = map(self._lineage.producers.get, run.inputs)
        return any(producer is not None and producer.name == node for producer in made)

    def _add(self, run: TaskRun, headline: str, trace: str, *, own: bool) -> None:
        key = _NUMBERS.sub("#", headline), run.name if own else ""
        if not own:
            # A dependent repeats the error of what failed first: it belongs to that one's group.
            key = next((each for each in self._groups if each[0] == key[0]), key)
        elif (key[0], "") in self._groups and key not in self._groups:
            self._groups[key] = self._groups.pop((key[0], ""))  # it came before what it tells of
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = FailureGroup(headline, trace=trace)
        if not own:
            group.skipped += 1
            return
        group.count += 1
        if len(group.examples) < EXAMPLES:
            group.examples.append((run, headline))

    def groups(self) -> list[FailureGroup]:
        """The largest first."""
        return sorted(self._groups.values(), key=lambda group: -group.count)


class ErrorSummary(NamedTuple):
    """What an error text says.

    Attributes:
        headline: A line.
        trace: A traceback, or the whole text.
        own: It is the task's own, as far as the text tells.
        node: What failed; empty if it is not told.
    """

    headline: str
    trace: str
    own: bool = True
    node: str = ""


def explain(error: str) -> ErrorSummary:
    """What an error text says; nothing of it is unpickled.

    Example:
        >>> explain("exit code 3").headline
        'exit code 3'
    """
    record = ErrorRecord.find(error)
    if record is None:
        # A record that this version does not read is no more than noise.
        lines = error.strip().splitlines()
        text = "\n".join(line for line in lines if not line.startswith(f"[{MARK} ")).strip()
        return ErrorSummary(text.splitlines()[0] if text else "no reason was given", text)
    # Engines put prose before the error of the task that failed first.
    own = error.startswith(record.summary) and record.kind != "skipped"
    return ErrorSummary(record.summary, str(record.cause()), own, record.node)


def faults_of(
    records: Sequence[ItemRecord], errors: Sequence[ErrorRecord]
) -> list[tuple[str, str]]:
    """Why the failed ones of some calls have failed, each as a line and a traceback.

    Args:
        records: What became of the calls.
        errors: What was kept of why; also of other calls, whose failure these have inherited.

    Example:
        >>> records = [ItemRecord("f", 0, 0.1), ItemRecord("f", 1, 0.1, ItemState.FAILED)]
        >>> faults_of(records, [])
        [('f[1] failed: only the first errors of a task are kept', '')]
    """
    by_name = {error.name: error for error in errors}
    faults = []
    for label in (record.label for record in records if record.state is ItemState.FAILED):
        error = by_name.get(label)
        if error is None:
            faults.append((f"{label} failed: {NOT_KEPT}", ""))
        else:
            faults.append((error.summary, str(error.cause())))
    return faults
