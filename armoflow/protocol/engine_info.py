"""What an engine says of itself, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from armoflow import config


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine says of itself at connect."""

    core_version: str
    partitions: tuple[str, ...]
    chunk_bytes: int
    extensions: frozenset[str] = field(default_factory=frozenset)
    pods: Mapping[str, int] = field(default_factory=dict)  # at most, by partition

    def pods_of(self, partition: str) -> int:
        """How many pods a partition may have at most; an empty name stands for the default one."""
        return max(self.pods.get(self.name_of(partition), config.UNKNOWN_PODS), 1)

    def name_of(self, partition: str) -> str:
        """A partition's name; of the default one what it is called unless it was renamed."""
        if partition:
            return partition
        return self.partitions[0] if len(self.partitions) == 1 else "default"

    @property
    def frees_payloads(self) -> bool:
        """Whether the engine deletes payloads by itself (stock clusters do, but do not say so)."""
        return "frees-payloads" in self.extensions

    @property
    def shares_payloads(self) -> bool:
        """Whether it deletes a payload that several tasks name only when all have completed."""
        return "shares-payloads" in self.extensions

    @property
    def fences(self) -> bool:
        """Whether it refuses the tasks of who has been overtaken; else that is asked before."""
        return "fences" in self.extensions

    @property
    def keeps_payloads(self) -> bool:
        """Whether a task's payload is there still when it has ended well, for certain."""
        return "batch" in self.extensions and not self.frees_payloads

    @property
    def commits_at_once(self) -> bool:
        """Whether a task ends in the moment in which its results are there.

        ArmoniK.Core completes the results before the task, which may be lost in between; then it is
        run again, and needs its payload and its inputs.
        """
        return "-armoflow" in self.core_version

    @property
    def propagates_aborts(self) -> bool:
        """Whether a task submitted while its input is being aborted ends too (0.38 and later)."""
        parts = self.core_version.split(".")
        try:
            return (int(parts[0]), int(parts[1])) >= (0, 38)
        except (IndexError, ValueError):
            return False
