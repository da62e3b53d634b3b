"""Graphics processors of workers that are started by commands: each has its own.

Our own child processes are given devices with each task. A worker of a command looks for devices
when it begins, and the same process runs one task after the other: so what it sees is said once,
when it is started, and no two see the same one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from armoflow.errors import OptionError

logger = logging.getLogger(__name__)


def share_devices(
    devices: Sequence[str],
    workers: Mapping[str, int],
    gpus: Mapping[str, int] | None = None,
    *,
    others: int = 0,
) -> dict[str, tuple[tuple[str, ...], ...]]:
    """The devices of each worker, by partition; where the machine has none, nothing is said.

    Args:
        devices: The machine's.
        workers: How many workers of commands each partition has.
        gpus: How many devices a task may have in each partition, as a table says it; None: there is
            no table, and they are shared evenly.
        others: How many workers there are besides; what is left over is for these.

    Raises:
        OptionError: If there are not enough for what the table says.

    Example:
        >>> share_devices(["0", "1", "2"], {"gpu": 2}, {"gpu": 1})
        {'gpu': (('0',), ('1',))}
        >>> share_devices(["0", "1", "2"], {"a": 1, "b": 1})
        {'a': (('0',),), 'b': (('1',),)}
        >>> share_devices(["0"], {"a": 2})
        {'a': (('0',), ())}
    """
    if not devices:
        return {}
    count = sum(workers.values())
    if gpus is None:
        each = max(len(devices) // (count + others), 1) if count else 0
        gpus = dict.fromkeys(workers, each)
    elif (wanted := sum(gpus.get(name, 0) * workers[name] for name in workers)) > len(devices):
        raise OptionError(
            f"the workers of {', '.join(f'{n}={workers[n]}' for n in workers if gpus.get(n))} want "
            f"{wanted} gpus, as the table of partitions says, and this machine has {len(devices)}: "
            "start fewer of them (--partition NAME=N), or correct the table"
        )
    left = list(devices)
    shared: dict[str, tuple[tuple[str, ...], ...]] = {}
    for name, number in workers.items():
        own = []
        for _ in range(number):
            taken = gpus.get(name, 0)
            own.append(tuple(left[:taken]))
            del left[:taken]
        shared[name] = tuple(own)
        if gpus.get(name) and not all(own):
            logger.warning(
                "%d of the %d workers of partition %s see no graphics processor: this machine has "
                "%d, and each is one worker's; --partition %s=N starts fewer",
                *(own.count(()), number, name, len(devices), name),
            )
    return shared
