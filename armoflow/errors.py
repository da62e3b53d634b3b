"""Every error that armoflow raises, in one hierarchy.

A task that raises gives the caller its *own* exception, not one of these: the original type, whose
``__cause__`` is a :class:`RemoteTraceback` that says where it happened, in which node, on which
path, and how many items were skipped because of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from armoflow.interrupts import is_interrupt

_PATH = 12
"""Names of a path that are printed; the others, in the middle, are left out."""

_TRACE = 8192
"""Characters of a remote traceback that are printed, from each of its ends."""


_LONGEST_REFUSAL = 2_000
_LONGEST_VALUE = 400


def shown(value: object) -> str:
    """What an error shows of a value, whatever that is: of a long one both ends.

    Example:
        >>> shown("nonsense"), shown(10**5000), len(shown("x" * 100_000))
        ("'nonsense'", 'an int of 16610 bits', 405)
    """
    try:
        text = repr(value)
    except BaseException as error:  # a number is not written out, or its class ends all of it
        if is_interrupt(error):
            raise
        if type(value) is int:
            return f"an int of {value.bit_length()} bits"
        return f"<{type(value).__name__}>"
    if len(text) > _LONGEST_VALUE:
        half = _LONGEST_VALUE // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return text


class ArmoflowError(Exception):
    """Base of every error of armoflow."""


# --- building a graph ---------------------------------------------------------------------------


class GraphError(ArmoflowError):
    """The graph cannot be built as asked."""


class OptionError(GraphError, ValueError):
    """An option is unknown or its value is out of range.

    Example:
        >>> len(str(OptionError("name must be a number, not " + "x" * 1_000_000))) < 3_000
        True
    """

    def __init__(self, message: str = "") -> None:
        if len(message) > _LONGEST_REFUSAL:  # it repeats what was given
            half = _LONGEST_REFUSAL // 2
            message = f"{message[:half]} ... {message[-half:]}"
        super().__init__(message)


class SignatureError(GraphError, TypeError):
    """A call's arguments do not fit the task's signature."""


class CollectionError(GraphError, TypeError):
    """A collection cannot do that, for example ``len`` after ``filter``."""


class ArgumentCycleError(GraphError, ValueError):
    """An argument contains itself."""


# --- data ---------------------------------------------------------------------------------------


class SerializationError(ArmoflowError, TypeError):
    """A value cannot be pickled, or not be read back; the message names which one."""


class UnkeyableError(ArmoflowError, TypeError):
    """A value has no key in the cache; the message names the argument and the path inside it."""


class EnvelopeError(ArmoflowError, ValueError):
    """Stored data is not what was written: truncated, corrupt or of another version."""


class ProtocolError(ArmoflowError):
    """The other side sent something that the protocol does not allow."""


class MalformedError(ProtocolError, ValueError):
    """A message, or a field of it, is not what it may be; the text names the field."""


# --- connecting and submitting ------------------------------------------------------------------


class EngineUnreachableError(ArmoflowError, ConnectionError):
    """Nothing answers at the endpoint."""


class EngineError(ArmoflowError):
    """The engine refused a call, or failed; ``code`` is the gRPC status code's name."""

    def __init__(self, message: str, code: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.code = code


class SessionEndedError(EngineError):
    """The engine ended the client's session, for example because it was away for too long.

    Attributes:
        session_id: The session.
    """

    def __init__(self, message: str, code: str = "ABORTED", session_id: str = "") -> None:
        super().__init__(message, code)
        self.session_id = session_id


class UnknownIdError(ArmoflowError, LookupError):
    """An engine knows no session, task or result by an id, or several."""


class ReplayError(ArmoflowError):
    """A task cannot be run again here: what it was given is not there, or is none of armoflow's."""


class MissingPackageError(ArmoflowError, ImportError):
    """A package that only this takes is not installed; the message says how to install it."""


class NoTaskError(ArmoflowError, RuntimeError):
    """Something was asked of the running task, and no task runs."""


class SubmissionError(ArmoflowError, ValueError):
    """A graph cannot be submitted to this engine: unknown partition, priority too high."""


class NamedRunError(ArmoflowError):
    """A named run cannot be joined, gone on with or found; the message names the remedy."""


class NamedValueError(ArmoflowError, LookupError):
    """Nothing is stored under a name, or something is already; the message names the remedy."""


class DryRunError(ArmoflowError):
    """There is no value: the client is told to run nothing.

    Attributes:
        explanation: What the cache has of the graph, and why it has not the rest.
    """

    def __init__(self, explanation: object) -> None:
        super().__init__(f"dry_run=True: nothing is run, and there is no value\n{explanation}")
        self.explanation = explanation


class BudgetError(SubmissionError):
    """A graph is expected to take more than the client's budget.

    Attributes:
        estimate: What it is expected to take.
    """

    def __init__(self, message: str, estimate: object) -> None:
        super().__init__(message)
        self.estimate = estimate


class ForeignReferenceError(ArmoflowError, ValueError):
    """A Future or ``put`` reference belongs to another client."""


class ClientClosedError(ArmoflowError, RuntimeError):
    """The client was closed."""


class ThreadLimitError(ArmoflowError, RuntimeError):
    """No thread can be started: memory, or the number of processes, is at its limit."""


# --- waiting ------------------------------------------------------------------------------------

if sys.version_info >= (3, 11):
    WaitTimeoutError = TimeoutError
else:  # where these are three types, what the caller waited for in vain is of each
    import asyncio
    import concurrent.futures

    class WaitTimeoutError(TimeoutError, concurrent.futures.TimeoutError, asyncio.TimeoutError):
        """Something has not come in the time that the caller gave it; it may come yet."""


# --- running ------------------------------------------------------------------------------------


class TaskError(ArmoflowError):
    """A task failed for a reason of armoflow's own, not an exception of the user's code."""


class VersionMismatchError(TaskError):
    """The worker's Python, cloudpickle or armoflow cannot run what the client's has written."""


class RequirementsError(TaskError):
    """What a task needs to have installed cannot be had where it was to run."""


class TaskTimeoutError(TaskError, TimeoutError):
    """An attempt of a task ran longer than its ``timeout`` and was killed."""


class MemoryLimitError(TaskError, MemoryError):
    """The process of a task took more memory than its ``memory`` and was killed."""


class WorkerDiedError(TaskError):
    """The process that ran the task died (signal or exit) more often than ``crash_retries``."""


class TooManyFailuresError(TaskError):
    """More items of a map failed than its ``min_success`` lets fail."""


class TaskCancelledError(TaskError):
    """The task was cancelled in the engine, not by this client."""


class DataLostError(TaskError):
    """Data that a task or the caller needs is no longer stored."""


class StaleCacheError(DataLostError):
    """What was taken from the cache is not what was kept, or cannot be read any more.

    Whoever sees it first is the client, which computes the value anew.

    Attributes:
        result_id: The result that the cache gave.
    """

    def __init__(self, message: str, result_id: str = "") -> None:
        super().__init__(message, result_id)
        self.result_id = result_id

    def __str__(self) -> str:
        return str(self.args[0])


class ChangedArgumentWarning(UserWarning):
    """A task has changed an argument in place: with ``local=True`` it is told which, and where."""


class LeftBehindWarning(UserWarning):
    """Something that a task uses is another here than where it runs, and does not travel."""


class RemoteTaskError(TaskError):
    """Stands for a remote exception whose type cannot be rebuilt here; ``type_name`` names it."""

    def __init__(self, message: str, type_name: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name


class RemoteTraceback(ArmoflowError):
    """The cause of every exception that comes from a task: where it happened, and how.

    Attributes:
        node: Name of the node that failed, with its item index where it is one of a collection.
        path: Node names from the failed node to the node that was asked for.
        skipped: How many items are known not to have run because of this failure.
        attempts: How often the item was tried.
        traceback: The remote traceback, formatted, with source lines.
        told: Type and message of the error, as far as they were kept.
        output: What the item wrote last.
    """

    def __init__(
        self,
        node: str,
        traceback: str = "",
        path: Sequence[str] = (),
        skipped: int = 0,
        attempts: int = 1,
        *,
        told: str = "",
        output: str = "",
    ) -> None:
        super().__init__(node)
        self.output = output
        self.told = told
        self.node = node
        self.traceback = traceback
        self.path = list(path)
        self.skipped = skipped
        self.attempts = attempts

    def full_text(self) -> str:
        """All that is known of the error: its whole message, traceback and chain of causes.

        The engine of this machine, and packed items everywhere, keep up to 1 MiB of it; in the
        error of a cluster's task its two ends are kept, and the worker's log holds the whole.
        """
        told = self.traceback.rstrip() or self.told
        return "\n".join([*self._where(), *self._output(), "", told])

    def __str__(self) -> str:
        lines = [*self._where(), *self._output()]
        trace = self.traceback.rstrip()
        if len(trace) > 2 * _TRACE:
            left_out = f"[{len(trace) - 2 * _TRACE} more characters: full_text() has all]"
            trace = f"{trace[:_TRACE]}\n{left_out}\n{trace[-_TRACE:]}"
        if trace:
            lines.append("remote traceback:\n" + trace)
        return "\n".join(lines)

    def _output(self) -> list[str]:
        if not self.output:
            return []
        return ["last output:", *(f"  {line}" for line in self.output.split("\n"))]

    def _where(self) -> list[str]:
        lines = [f"in task {self.node!r} after {self.attempts} attempt(s)"]
        if len(self.path) > 1:
            path = self.path
            if len(path) > _PATH:
                path = [*path[: _PATH // 2], "...", *path[-_PATH // 2 :]]
            lines.append("path: " + " -> ".join(path))
        if self.skipped:
            lines.append(f"skipped: {self.skipped} dependent item(s)")
        return lines
