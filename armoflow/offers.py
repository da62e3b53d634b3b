"""What partitions offer to tasks: a table, an argument of the client or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from armoflow.byte_sizes import read_size
from armoflow.errors import OptionError, shown
from armoflow.placement import OFFERS_VARIABLE, Offer, check_partition
from armoflow.system.devices import visible_devices
from armoflow.system.memory import machine_memory

_ARGUMENT = "partitions"
_RESOURCES = ("cpus", "memory", "gpus")


def make_offers(table: Any, name: str = _ARGUMENT) -> tuple[Offer, ...]:
    """What partitions offer, as a table says it.

    Args:
        table: By partition what it has: ``cpus``, ``memory``, ``gpus``.
        name: What the table is called, for errors.

    Raises:
        OptionError: If it is no such table.

    Example:
        >>> make_offers({"gpu": {"cpus": 8, "memory": "32GiB", "gpus": 1}})
        (Offer(partition='gpu', cpus=8, memory=34359738368, gpus=1),)
    """
    if not isinstance(table, Mapping):
        raise OptionError(
            f"{name} must be a dict such as {{'gpu': {{'cpus': 8, 'memory': '32GiB', 'gpus': 1}}}},"
            f" not {shown(table)}"
        )
    return tuple(_offer(partition, entry, name) for partition, entry in table.items())


def _offer(partition: Any, entry: Any, name: str) -> Offer:
    if not isinstance(entry, Mapping):
        raise OptionError(
            f"{name} must give for each partition's name what it has, not "
            f"{shown(partition)}: {entry!r}"
        )
    check_partition(partition, f"{name}:")
    place = f"{name}[{partition!r}]" if name == _ARGUMENT else f"{name}: {partition!r}"
    for key in entry:
        if key not in _RESOURCES:
            raise OptionError(f"{place} names {key!r}: known are {', '.join(_RESOURCES)}")
    cpus, memory, gpus = (
        f"{place}[{key!r}]" if name == _ARGUMENT else f"{place}, {key}" for key in _RESOURCES
    )
    said = entry.get("memory")
    return Offer(
        partition,
        _count(cpus, entry.get("cpus", 1), 1),
        None if said is None else read_size(memory, said, least=1),
        _count(gpus, entry.get("gpus", 0), 0),
    )


def _count(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionError(f"{name} must be an integer from {least} on, not {shown(value)}")
    return value


def read_offers(environment: Mapping[str, str]) -> tuple[Offer, ...]:
    """What the file says that the variable names; nothing where there is none.

    Raises:
        OptionError: If it cannot be read, or holds no such table.
    """
    said = environment.get(OFFERS_VARIABLE)
    if not said:
        return ()
    import yaml  # not needed where there is no such file

    name = f"the file {said!r} ({OFFERS_VARIABLE})"
    try:
        table = yaml.safe_load(Path(said).expanduser().read_bytes())
    except OSError as error:
        raise OptionError(f"{name} cannot be read: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise OptionError(f"{name} is not YAML: {' '.join(str(error).split())}") from error
    return make_offers(table, name)


def offers_of(
    argument: Sequence[Offer], file: Sequence[Offer], partitions: Sequence[str]
) -> tuple[Offer, ...]:
    """What is known of an engine's partitions.

    Args:
        argument: What the script says, which is meant for this engine.
        file: What a file says, which may be for several.
        partitions: Those that the engine has.

    Raises:
        OptionError: If the script names one that the engine does not have.
    """
    for offer in argument:
        if offer.partition not in partitions:
            raise OptionError(
                f"partitions names {offer.partition!r}, which this engine does not have: it has "
                f"{', '.join(map(repr, partitions)) or 'none'}"
            )
    return tuple(offer for offer in argument or file if offer.partition in partitions)


def offer_here(partitions: Sequence[str], workers: int) -> tuple[Offer, ...]:
    """What an engine on this machine offers, where nobody says: the machine.

    Args:
        partitions: Those that the engine has.
        workers: How many worker processes it has.
    """
    gpus = len(visible_devices(os.environ))
    return tuple(
        Offer(name, cpus=workers, memory=machine_memory(), gpus=gpus) for name in partitions
    )
