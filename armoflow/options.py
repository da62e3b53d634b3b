"""The options of a task: how it is retried, timed, placed and named; and where they come from.

They are validated where they are written, so that a typo fails in the script and not on a cluster.
Of several places that may say the same option, the nearest one to the call wins:

1. the call or the task: ``@task(retries=2)``, changed by ``with_options``;
2. the blocks in which the call was made, the inner ones first: ``with armoflow.options(...)``;
3. the blocks in which it is computed or submitted;
4. the client: ``Client(retries=2)``;
5. the defaults.

Of ``env`` that holds for each variable: those that different places name are all set.

The graph that a task returns is merged in the same way: what its calls say, then the blocks, client
and defaults of the task that returned it. The task's own options are its own.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar

from armoflow.byte_sizes import read_size
from armoflow.config import MEMORY_LEAST, MEMORY_MOST
from armoflow.errors import OptionError
from armoflow.fallback import Fallback, make_fallback
from armoflow.foreign_options import FOREIGN_OPTIONS, nearest
from armoflow.option_values import NUMBERS, READERS, check_flag
from armoflow.placement import check_partition
from armoflow.policies import CachePolicy, make_policy
from armoflow.retrying import RetryOn

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What can be said about how a task runs; ``None`` means "as the client says".

    Attributes:
        retries: How often an attempt that raised or timed out is tried again, as far as the pauses
            between have room in the week that a task may take.
        backoff: Seconds before the first retry; doubles with each further one, up to a day.
        max_backoff: The most that it becomes, if that is less.
        jitter: The part of each pause, from 0 to 1, by which it may be shorter, by chance.
        retry_on: What is tried again: an exception type, several, or a function that is called with
            the exception, on the worker. None: whatever was raised. A timeout is tried again unless
            types are given, none of which is ``TimeoutError``.
        timeout: Seconds that one attempt of one item may take before its process is killed; a week
            at most, which is as long as any task may take.
        crash_retries: How often an item is tried again after its process died.
        partition: Partition that runs the task. Where none is said, it is the smallest one that
            offers what the task wants; see :mod:`armoflow.placement`.
        cpus: Processors that an attempt uses: numerical libraries start as many threads. On the
            embedded engine it takes as many workers' places.
        memory: Bytes, or text such as "2 GiB", that the process of an attempt may have: one that
            takes more is ended, with :class:`~armoflow.errors.MemoryLimitError`.
        gpus: Graphics processors that its partition must have.
        limits: Of each name, how many calls with that name may run at the same time, as in
            ``{"licence": 4}``: over all clients of the embedded engine, elsewhere of one client.
        priority: 1 (last) to the engine's maximum (10 on stock clusters; first).
        batch_size: Items of a collection per ArmoniK task; ``None`` lets armoflow choose.
        max_retries: Engine-level retries, for lost agents.
        keep: Keep the result even when nothing needs it, and when the session has ended for as long
            as the engine keeps what is known of that.
        fuse: Run the task in one ArmoniK task with the one before it, where only it needs that
            one's value and both have the same options.
        cache: Keep values, and take those that were computed before: ``True``, or what they are
            known by, as ``"inputs + code"``; see :func:`armoflow.policies.make_policy`.
        version: Stands for the task's code, for the cache.
        ignore: Arguments that make no difference to the value, for the cache.
        expires: Seconds, or a timedelta, for which a value in the cache is good; or until when.
        on_failure: What stands in the place of a value that all attempts have failed to make:
            ``"skip"``, of the items of a map or filter, leaves them out; a function is called with
            the exception; anything else but a text is the value itself. Such values are not cached.
            None, or ``"raise"``: the error.
        backup: Run a call of many a second time where it takes far longer than the others: the
            first that ends wins. For functions that may run twice at the same time.
        options: Further options of the task for ArmoniK, by name, all of them texts: for engines,
            for workers of other kinds, and for who looks.
        min_success: The share of a map's items that have to succeed where the others are skipped.
        env: Environment variables, by name, all of them texts: set while the task runs, put back
            after it.
        requirements: Packages that it needs, as ``"numpy>=2"``: on the worker it runs in a virtual
            environment that has them, beside what is installed there. None at all: ``[]``.
    """

    retries: int | None = None
    backoff: float | None = None
    max_backoff: float | None = None
    jitter: float | None = None
    retry_on: RetryOn | None = None
    timeout: float | None = None
    crash_retries: int | None = None
    partition: str | None = None
    cpus: int | None = None
    memory: int | None = None
    gpus: int | None = None
    limits: tuple[tuple[str, int], ...] | None = None
    priority: int | None = None
    batch_size: int | None = None
    max_retries: int | None = None
    keep: bool | None = None
    fuse: bool | None = None
    cache: bool | str | None = None
    version: str | int | None = None
    ignore: tuple[str, ...] | None = None
    expires: float | timedelta | datetime | None = None
    on_failure: Any = None
    min_success: float | None = None
    backup: bool | None = None
    options: tuple[tuple[str, str], ...] | None = None
    env: tuple[tuple[str, str], ...] | None = None
    requirements: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, number in NUMBERS.items():
            value = getattr(self, name)
            if value is not None:
                number.check(name, value)
        if self.memory is not None:
            size = read_size("memory", self.memory, least=MEMORY_LEAST, most=MEMORY_MOST)
            object.__setattr__(self, "memory", size)
        for name, read in READERS.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, read(value))
        if self.partition is not None:
            object.__setattr__(self, "partition", check_partition(self.partition))
        for name in ("keep", "fuse", "backup"):
            value = getattr(self, name)
            if value is not None:
                check_flag(name, value)
        if self.on_failure is not None and not isinstance(self.on_failure, Fallback):
            object.__setattr__(self, "on_failure", make_fallback(self.on_failure))
        caching = (self.cache, self.version, self.ignore, self.expires)
        if any(value is not None for value in caching):
            policy = cache_policy(self)
            if self.ignore is not None:  # hashed, as all options are
                object.__setattr__(self, "ignore", tuple(sorted(policy.ignore)))

    @property
    def replaces(self) -> bool:
        """Whether something stands in the place of values that could not be made."""
        return self.on_failure is not None and self.on_failure.replaces

    def given(self) -> dict[str, Any]:
        """What these options say, by name: nothing for those that leave it to others."""
        values = zip(OPTION_NAMES, _values_of(self), strict=True)
        return {name: value for name, value in values if value is not None}


OPTION_NAMES = tuple(field.name for field in dataclasses.fields(TaskOptions))

_values_of = attrgetter(*OPTION_NAMES)

_OWN = ("outputs", "name")
"""What is said of a task where it is made, and of nothing else."""

CACHE_OPTIONS = frozenset({"cache", "version", "ignore", "expires"})
"""They are the client's business: of a graph that a task returns, nothing is cached."""

_NOT_INHERITED = CACHE_OPTIONS | {"min_success"}
"""What blocks and clients say of these does not hold in the graphs that tasks return."""


def cache_policy(
    options: TaskOptions, env: tuple[tuple[str, str], ...] | None = None
) -> CachePolicy:
    """Whether values are kept, and what they are known by; none that a failure may have left.

    Args:
        options: All that is said about a task.
        env: The variables that were said near it: those of the client make no difference.

    Raises:
        OptionError: If it makes no sense.

    Example:
        >>> cache_policy(TaskOptions(cache="inputs")).parts
        frozenset({'inputs'})
    """
    kept = None if options.replaces else options.cache
    policy = make_policy(
        kept, version=options.version, ignore=options.ignore, expires=options.expires
    )
    return policy.declaring(options.requirements or (), env or ())


def check_skipping(own: TaskOptions, base: TaskOptions) -> None:
    """Refuse to leave out items of a map that was written without a word of it.

    Args:
        own: What the node says.
        base: What the client and the blocks say in which it is computed.

    Raises:
        OptionError: If only these say so.
    """
    if own.on_failure is None and base.on_failure is not None and base.on_failure.skips:
        raise OptionError(
            "on_failure='skip' has to be said where a map is written, which then has items that "
            "may be absent: of the task, or of a block around the call"
        )


class Options(TypedDict, total=False):
    """The options of a task, for type checkers; see :class:`TaskOptions`."""

    retries: int
    backoff: float
    max_backoff: float | None
    jitter: float
    retry_on: type[BaseException] | Iterable[type[BaseException]] | Callable[[Any], bool] | None
    timeout: float | None
    crash_retries: int
    partition: str | None
    cpus: int | None
    memory: int | str | None
    gpus: int | None
    limits: Mapping[str, int] | None
    priority: int
    batch_size: int | None
    max_retries: int
    keep: bool
    fuse: bool
    cache: bool | str
    version: str | int | None
    ignore: Iterable[str]
    expires: float | timedelta | datetime | None
    on_failure: Any
    min_success: float | None
    backup: bool
    options: Mapping[str, str]
    env: Mapping[str, str]
    requirements: Iterable[str]


@functools.lru_cache(maxsize=4096)
def merge_options(*levels: TaskOptions | None) -> TaskOptions:
    """The one place where options of several levels become one.

    The same levels come again and again, and get the same object: plans compare by identity.

    Args:
        levels: The nearest to the call first; None for a level that there is not.

    Returns:
        Of each option, what the first level that says something says; of ``env``, of each
        variable.

    Example:
        >>> merge_options(TaskOptions(retries=2), None, TaskOptions(retries=1, keep=True)).given()
        {'retries': 2, 'keep': True}
    """
    merged: dict[str, Any] = {}
    for level in levels:
        if level is not None:
            own = level.given()
            if "env" in own:  # of each variable what the nearest level says
                own["env"] = merged["env"] = {**dict(own["env"]), **merged.get("env", {})}
            merged = {**own, **merged}
    return TaskOptions(**merged)


@functools.lru_cache(maxsize=4096)
def inherited_options(block: TaskOptions | None, base: TaskOptions) -> TaskOptions:
    """What holds for the tasks of a graph that a task returned, where they say nothing.

    Left out is what makes sense only where a map is written, which then has items that may be
    absent, and what says how values are cached.

    Args:
        block: What the blocks say around the call of the task that returned it.
        base: What holds for that task, where it says nothing.

    Example:
        >>> block = TaskOptions(on_failure="skip", min_success=0.5)
        >>> inherited_options(block, TaskOptions(retries=2, cache=True)).given()
        {'retries': 2}
    """
    said = merge_options(block, base)
    left_out: dict[str, Any] = dict.fromkeys(_NOT_INHERITED)
    if said.on_failure is not None and said.on_failure.skips:
        left_out["on_failure"] = None
    return dataclasses.replace(said, **left_out)


_PLAIN = frozenset({int, float, str, bool, type(None)})
"""Types of values that are the same wherever they are equal, and of one type."""


def make_options(values: Mapping[str, Any]) -> TaskOptions:
    """Build options from keyword arguments.

    The same words get the same object, mostly: what follows from options is found by identity.

    Args:
        values: Option names and values, as written by the user.

    Returns:
        The validated options.

    Raises:
        OptionError: If a name is unknown or a value out of range.

    Example:
        >>> make_options({"retries": 2}).retries
        2
        >>> make_options({"retrys": 2})
        Traceback (most recent call last):
        armoflow.errors.OptionError: unknown option 'retrys': did you mean 'retries'?
        >>> make_options({"retries": 2}) is make_options({"retries": 2})
        True
    """
    if _PLAIN.issuperset(map(type, values.values())) and "on_failure" not in values:
        return _plain_options(**values)
    return _checked_options(values)


@functools.lru_cache(maxsize=1024, typed=True)
def _plain_options(**values: Any) -> TaskOptions:
    return _checked_options(values)


def _checked_options(values: Mapping[str, Any]) -> TaskOptions:
    for name in values:
        if name in _OWN:
            raise OptionError(f"{name} is one task's own: write @task({name}=...), and not here")
        if name not in OPTION_NAMES:
            remedy = FOREIGN_OPTIONS.get(name) or nearest(name, OPTION_NAMES)
            raise OptionError(f"unknown option {name!r}: {remedy}")
    return TaskOptions(**values)


NO_OPTIONS = make_options({})
"""What a task says of which nobody says anything."""

RETRIES = 0
BACKOFF = 0.1
CRASH_RETRIES = 2
MAX_RETRIES = 3
PRIORITY = 1
"""What holds where nobody says anything; priority is left open where it is not asked for."""

DEFAULT_OPTIONS = TaskOptions(
    retries=RETRIES,
    backoff=BACKOFF,
    crash_retries=CRASH_RETRIES,
    max_retries=MAX_RETRIES,
    keep=False,
)


# --- blocks -------------------------------------------------------------------------------------

_block: ContextVar[TaskOptions | None] = ContextVar("armoflow_options", default=None)


@contextmanager
def options(**values: Unpack[Options]) -> Iterator[None]:
    """Options that hold in a block, where a task says nothing.

    They hold for the calls that are made in it, wherever these are computed, and for what is
    computed or submitted in it; and in the graphs that these tasks return, to any depth. A block
    is seen by the thread, or the asyncio task, that entered it.

    Args:
        values: Options of tasks; see :class:`TaskOptions`.

    Raises:
        OptionError: If an option is unknown or out of range.

    Example:
        >>> with options(retries=2, timeout=60):
        ...     with options(retries=5):
        ...         current_block().given()
        {'retries': 5, 'timeout': 60}
    """
    own = make_options(values)
    token = _block.set(merge_options(own, _block.get()))
    try:
        yield
    finally:
        _block.reset(token)


def current_block() -> TaskOptions | None:
    """What the enclosing blocks say, or None outside any."""
    return _block.get()


T = TypeVar("T")


class BoundVariable(Generic[T]):
    """A context variable that has a value for the length of a block.

    No generator: that sets the traceback of each error that passes it, which a frozen one refuses.
    """

    __slots__ = ("_token", "_value", "_variable")

    def __init__(self, variable: ContextVar[T], value: T) -> None:
        self._variable = variable
        self._value = value

    def __enter__(self) -> None:
        self._token: Token[T] = self._variable.set(self._value)

    def __exit__(self, *ended: object) -> None:
        self._variable.reset(self._token)


def as_block(block: TaskOptions | None) -> BoundVariable[TaskOptions | None]:
    """What is called inside is called in these blocks, and in no other."""
    return BoundVariable(_block, block)
