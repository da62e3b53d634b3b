"""What workers are called: each has the name and the address of a pod of its own.

A task's record says where it ran as one text, ``address/name``. The address is one of this
machine's loopback, which nobody listens at: it only tells workers apart, as a cluster's tools do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote

_BYTE: Final = 250
"""Values of a byte of an address that are used: neither 0 nor 255 ends one."""


class Pod(NamedTuple):
    """Where a task ran."""

    address: str
    name: str

    @property
    def owner(self) -> str:
        """It, as a task's record has it."""
        return f"{self.address}/{self.name}"


def pods(partition: str, partitions: Iterable[str], workers: int) -> Sequence[Pod]:
    """The pods of a partition's workers.

    Example:
        >>> pods("gpu", ["default", "gpu"], 2)[1]
        Pod(address='127.2.0.2', name='gpu-1')
    """
    place = list(partitions).index(partition) % _BYTE + 1
    name = quote(partition, safe="")
    return [
        Pod(f"127.{place}.{number // _BYTE}.{number % _BYTE + 1}", f"{name}-{number}")
        for number in range(workers)
    ]


def pod_of(owner: str) -> Pod:
    """The pod that a task's record names; journals of before knew no addresses.

    Example:
        >>> pod_of("127.2.0.2/gpu-1").name, pod_of("lane-gpu")
        ('gpu-1', Pod(address='', name='lane-gpu'))
    """
    address, _, name = owner.rpartition("/")
    return Pod(address, name)


_UNLESS_NONE: Final = "CASE e.owner WHEN '' THEN '' ELSE {} END"
ADDRESS_SQL: Final = _UNLESS_NONE.format("substr(e.owner,1,max(instr(e.owner,'/')-1,0))")
NAME_SQL: Final = _UNLESS_NONE.format("substr(e.owner,instr(e.owner,'/')+1)")
