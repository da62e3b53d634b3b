"""Where tasks may run: what a session allows, what its partitions offer, which of them is taken.

What partitions offer is told by a table of the client's (see ``armoflow.offers``). No engine
tells it: a partition's pods are what a deployment has made of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from armoflow.byte_sizes import show_size
from armoflow.errors import OptionError, SubmissionError, shown
from armoflow.texts import plain, read_count

if TYPE_CHECKING:
    from armoflow.options import TaskOptions

CPUS_LABEL, MEMORY_LABEL, GPUS_LABEL = "armoflow.cpus", "armoflow.memory", "armoflow.gpus"
"""Options of a task for ArmoniK: the embedded engine gives it so much of the machine."""

_LONGEST_NAME: Final = 64

OFFERS_VARIABLE = "ARMOFLOW_PARTITIONS"
"""Names a file, of YAML or JSON, with the table."""


def read_wish(options: Mapping[str, str] | None, label: str) -> int:
    """How much a task wants of something, as its options say it; 0: nothing is said.

    Example:
        >>> read_wish({"armoflow.gpus": "2"}, GPUS_LABEL), read_wish({}, CPUS_LABEL)
        (2, 0)
    """
    text = options.get(label) if options else None
    return 0 if text is None else read_count(text) or 0  # others may write what they like


def check_partition(name: Any, what: str = "partition") -> str:
    """A partition's name, if it is one.

    Queues and directories are called by it, here and on clusters, so it has letters, digits, ``-``,
    ``_`` and ``.`` only.

    Args:
        name: The name.
        what: Where it is written, for the error.

    Raises:
        OptionError: If it is no name of a partition.

    Example:
        >>> check_partition("gpu-large")
        'gpu-large'
        >>> check_partition("a b")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        armoflow.errors.OptionError: partition 'a b' is no name of a partition: write letters...
    """
    if (
        isinstance(name, str)
        and 0 < len(name) <= _LONGEST_NAME
        and all(sign in "-_." or sign.isalnum() for sign in name)
        and name.strip(".")  # directories are called so
    ):
        return plain(name)
    raise OptionError(
        f"{what} {shown(name)} is no name of a partition: write letters, digits, '-', '_' and "
        f"'.' only, {_LONGEST_NAME} at most"
    )


class Offer(NamedTuple):
    """What a task may have in a partition.

    Attributes:
        partition: The partition.
        cpus: Processors.
        memory: Bytes; None: nothing is said about it.
        gpus: Graphics processors.
    """

    partition: str
    cpus: int = 1
    memory: int | None = None
    gpus: int = 0

    def fits(self, options: TaskOptions) -> bool:
        """Whether it is enough for a task.

        Example:
            >>> from armoflow.options import TaskOptions
            >>> Offer("small", cpus=2).fits(TaskOptions(cpus=4))
            False
        """
        return (
            (options.cpus or 1) <= self.cpus
            and (options.gpus or 0) <= self.gpus
            and (self.memory is None or (options.memory or 0) <= self.memory)
        )

    @property
    def size(self) -> tuple[int, int, float]:
        """How large it is: graphics processors are what is scarce."""
        return self.gpus, self.cpus, math.inf if self.memory is None else self.memory

    def __str__(self) -> str:
        memory = "" if self.memory is None else f", memory={show_size(self.memory)}"
        return f"{self.partition!r} offers cpus={self.cpus}{memory}, gpus={self.gpus}"


class Limits(NamedTuple):
    """What a session allows its tasks to ask for, those that tasks return too.

    Engines do not check it for each task: one in a partition that nobody serves waits for ever.

    Attributes:
        partitions: Where its tasks may run.
        max_priority: The highest priority that queues take.
        offers: What is known of these partitions.
    """

    partitions: Sequence[str]
    max_priority: int
    offers: Sequence[Offer] = ()

    def check(self, name: str, options: TaskOptions) -> None:
        """Refuse options that ask for more.

        Args:
            name: Names the task.
            options: All that is said about it.

        Raises:
            SubmissionError: Names what is asked for and what there is.

        Example:
            >>> from armoflow.options import TaskOptions
            >>> Limits(["cpu", "gpu"], 10).check("train", TaskOptions(partition="gpu", priority=5))
        """
        if options.partition is not None and options.partition not in self.partitions:
            raise SubmissionError(
                f"task {name!r} asks for partition {options.partition!r}, which this engine does "
                f"not have: it has {', '.join(map(repr, self.partitions)) or 'none'}"
            )
        if options.priority is not None and options.priority > self.max_priority:
            raise SubmissionError(
                f"task {name!r} asks for priority {options.priority}, but the engine's queues go "
                f"up to {self.max_priority}: lower it, or say Client(max_priority=...) if they "
                "allow more"
            )
        self.place(name, options)

    def place(self, name: str, options: TaskOptions) -> str | None:
        """The partition of a task: the one that is named, or the smallest that has what it wants.

        Args:
            name: Names the task.
            options: All that is said about it.

        Returns:
            None where the engine's own default will do.

        Raises:
            SubmissionError: If none has what is wanted.

        Example:
            >>> from armoflow.options import TaskOptions
            >>> offers = [Offer("small", cpus=2), Offer("large", cpus=16), Offer("gpu", 16, gpus=1)]
            >>> Limits(["small", "large", "gpu"], 10, offers).place("f", TaskOptions(cpus=8))
            'large'
        """
        wanted = _wanted(options)
        if not wanted:
            return options.partition
        known = [offer for offer in self.offers if options.partition in (None, offer.partition)]
        if not known:
            if options.gpus and options.partition is None:
                raise SubmissionError(
                    f"task {name!r} asks for {wanted}, and nothing says which partition has that: "
                    f"say Client(partitions={{...}}), a file that {OFFERS_VARIABLE} names, or "
                    "partition=..."
                )
            return options.partition
        fitting = [offer for offer in known if offer.fits(options)]
        if not fitting:
            raise SubmissionError(
                f"task {name!r} asks for {wanted}, which no partition has: "
                f"{'; '.join(map(str, known))}. Ask for less, or correct the table "
                "(Client(partitions=...))"
            )
        return min(fitting, key=lambda offer: offer.size).partition


def _wanted(options: TaskOptions) -> str:
    parts = []
    if options.cpus is not None:
        parts.append(f"cpus={options.cpus}")
    if options.memory is not None:
        parts.append(f"memory={show_size(options.memory)}")
    if options.gpus:
        parts.append(f"gpus={options.gpus}")
    return ", ".join(parts)
