"""The command line of an engine: for ``armoflow up`` and for private engines."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from armoflow import config
from armoflow.engine.access.access_options import AccessOptions, access_options
from armoflow.engine.address import Address, parse_address
from armoflow.engine.agents.worker_devices import share_devices
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.records import Partition
from armoflow.engine.server import ServerOptions
from armoflow.errors import OptionError
from armoflow.offers import read_offers
from armoflow.placement import check_partition
from armoflow.system.devices import visible_devices
from armoflow.system.grants import processors
from armoflow.texts import is_text
from armoflow.worker.environment import worker_environment


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what both ways to start an engine understand, except where it listens and lives."""
    parser.add_argument(
        "--workers",
        type=number_of("number of workers", 0, sys.maxsize),
        default=processors(),
        metavar="N",
        help="worker processes of each partition; 0: control plane only (default: %(default)s)",
    )
    parser.add_argument(
        "--partition",
        action="append",
        default=[],
        metavar="NAME[=N]",
        help="a partition, with its own number of workers; may be repeated (default: default)",
    )
    parser.add_argument(
        "--worker",
        action="append",
        default=[],
        metavar="[NAME=]COMMAND",
        help="command that starts an ArmoniK worker, in any language, in all partitions or in the "
        "one that is named; may be repeated, and the workers of a partition that is named several "
        "times are given its commands in turns. Without it tasks of armoflow run in the engine's "
        "own child processes",
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="a variable for the workers, with the engine's own value or another; may be repeated",
    )
    parser.add_argument(
        "--worker-channel",
        choices=("auto", "unix", "tcp"),
        default="auto",
        help="sockets between an agent and the --worker command: auto changes from unix to tcp, "
        "on the loopback, when the worker ends before it is ready (default: auto)",
    )
    parser.add_argument(
        "--data-folder",
        action="append",
        default=[],
        metavar="[NAME=]DIRECTORY",
        help="where the data of tasks is laid for the workers of --worker, in all partitions or in "
        "the one that is named, such as /cache/shared; may be repeated (default: in the state "
        "directory)",
    )
    parser.add_argument(
        "--max-priority",
        type=number_of("priority", 1, sys.maxsize),
        metavar="N",
        help="highest priority that tasks may have "
        f"(default: {config.MAX_PRIORITY}, with --strict: any)",
    )
    parser.add_argument(
        "--delete-payload",
        action="store_true",
        help="delete a task's payload once it is completed, as stock clusters do",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="behave as ArmoniK.Core does, even where that is a defect",
    )
    parser.add_argument(
        "--durability",
        choices=("normal", "full"),
        default="normal",
        help="normal survives the death of any process, full a power cut too (default: normal)",
    )
    parser.add_argument(
        "--no-extensions",
        action="store_true",
        help="serve the standard ArmoniK API only",
    )
    parser.add_argument(
        "--log-calls",
        type=given_path,
        metavar="FILE",
        help="append one line of JSON for each call to FILE",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="what is logged on the standard error (default: %(default)s)",
    )


def server_options(arguments: argparse.Namespace, *, private: bool = False) -> ServerOptions:
    """The options that the command line gives.

    Args:
        arguments: What was parsed.
        private: The engine belongs to the script that starts it: so does its environment.

    Raises:
        OptionError: If they make no sense.
    """
    workers = _parse_partitions(arguments.partition or ["default"], arguments.workers)
    command, commands = _parse_commands(arguments.worker, workers)
    access = AccessOptions() if private else access_options(arguments)
    environment = worker_environment(listed=not private, named=arguments.env)
    devices = visible_devices(environment)
    served = {name: n for name, n in workers.items() if any(commands.get(name, [command]))}
    shares = _share_devices(devices, served, sum(workers.values()))
    given = {device for share in shares.values() for own in share for device in own}
    return ServerOptions(
        address=_address(arguments.listen, "--listen", access),
        engine=EngineOptions(
            state_directory=arguments.state.expanduser().resolve(),
            partitions=tuple(Partition(name, pod_max=count) for name, count in workers.items()),
            max_priority=arguments.max_priority,
            delete_payload=arguments.delete_payload,
            strict=arguments.strict,
            durability=arguments.durability,
            client_lease=0.0 if private else arguments.client_lease,
            retention=0.0 if private else arguments.retention,
            room=0 if private else config.ROOM,
            devices=tuple(device for device in devices if device not in given),
            own_devices=frozenset(shares),
        ),
        workers=workers,
        command=command,
        commands=commands,
        environment=environment,
        data_folders=_parse_folders(arguments.data_folder, workers),
        devices=shares,
        channel=arguments.worker_channel,
        extensions=not arguments.no_extensions,
        discovery=not private,
        log_calls=arguments.log_calls,
        metrics=None if private else _metrics(arguments),
        access=access,
        **({} if private else _web_options(arguments, access)),
    )


def _share_devices(
    devices: Sequence[str], served: Mapping[str, int], workers: int
) -> dict[str, tuple[tuple[str, ...], ...]]:
    """The devices of each worker of a command; a table of partitions says how many that are."""
    if not (devices and served):
        return {}
    table = read_offers(os.environ)
    gpus = {offer.partition: offer.gpus for offer in table} if table else None
    return share_devices(devices, served, gpus, others=workers - sum(served.values()))


def _address(text: str, option: str, access: AccessOptions) -> Address:
    """Where to listen; strangers may not reach it."""
    if text.startswith("https://") and access.tls is None:
        raise OptionError(f"{option} {text} is TLS: give --tls-cert and --tls-key, too")
    address = parse_address(text)
    access.check_reach(address, f"{option} {text}")
    return address._replace(secure=access.tls is not None and not address.path)


def _web_options(arguments: argparse.Namespace, access: AccessOptions) -> dict[str, Any]:
    """Where browsers are served, and which pages.

    Raises:
        OptionError: If that makes no sense.
    """
    if not arguments.web:
        if arguments.web_origin:
            raise OptionError("--web-origin says who may call --web ADDRESS: give both")
        return {}
    # Imported here: private engines, which have to start fast, go without.
    from armoflow.engine.web.web_access import check_origin

    web = _address(arguments.web, "--web", access)
    if web.path:
        raise OptionError(f"--web {arguments.web}: browsers have no Unix sockets, write host:port")
    return {"web": web, "web_origins": tuple(map(check_origin, arguments.web_origin))}


def _metrics(arguments: argparse.Namespace) -> tuple[str, int] | None:
    port: int | None = arguments.metrics_port
    host: str | None = arguments.metrics_host
    if port is None and host is not None:
        raise OptionError(f"--metrics-host {host} says where --metrics-port PORT is: give both")
    return None if port is None else (config.METRICS_HOST if host is None else host, port)


def _parse_partitions(texts: list[str], default_count: int) -> dict[str, int]:
    workers: dict[str, int] = {}
    for text in texts:
        name, separator, count = text.partition("=")
        if not name or (separator and not count.isdecimal()):
            raise OptionError(f"{text!r} is no partition: write NAME or NAME=WORKERS")
        if name in workers:
            raise OptionError(f"partition {name!r} is given twice")
        check_partition(name, "--partition")
        workers[name] = int(count) if separator else default_count
        if workers[name] > config.WORKERS_LIMIT:
            raise OptionError(
                f"partition {name!r} cannot have {workers[name]} workers: write at most "
                f"{config.WORKERS_LIMIT}, each is a process of this machine"
            )
    return workers


def _parse_commands(
    texts: Sequence[str], partitions: Container[str]
) -> tuple[str, dict[str, list[str]]]:
    """The command of all partitions, and those of single ones."""
    common = ""
    commands: dict[str, list[str]] = {}
    for text in texts:
        name, separator, command = text.partition("=")
        if not (separator and name in partitions):
            if common:
                raise OptionError(
                    f"--worker is given twice for all partitions, {common!r} and {text!r}: write "
                    "NAME=COMMAND for single ones"
                )
            name, command = "", text
        try:
            empty = not shlex.split(command)
        except ValueError as error:
            raise OptionError(f"--worker {text!r} cannot be split: {error}") from error
        if not name:
            common = command
        elif (empty and name in commands) or commands.get(name) == [""]:
            raise OptionError(f"partition {name!r} has armoflow's own workers, or others: not both")
        else:
            commands.setdefault(name, []).append("" if empty else command)
    return common, commands


def _parse_folders(texts: Sequence[str], partitions: Collection[str]) -> dict[str, Path]:
    """The data folder of each partition that has one of its own."""
    folders: dict[str, Path] = {}
    common: str | None = None
    for text in texts:
        name, separator, directory = text.partition("=")
        named = bool(separator) and name in partitions
        if (name in folders) if named else (common is not None):
            where = f"partition {name!r}" if named else "all partitions"
            raise OptionError(
                f"--data-folder {text!r} is the second one for {where}: leave one out"
            )
        if not (directory if named else text):
            raise OptionError(f"--data-folder {text!r} names no directory: write one")
        if named:
            folders[name] = _absolute(directory)
        else:
            common = text
    return folders if common is None else dict.fromkeys(partitions, _absolute(common)) | folders


def _absolute(directory: str) -> Path:
    path = Path(directory).expanduser().absolute()
    if not is_text(str(path)):
        raise OptionError(
            f"--data-folder {str(path)!r} cannot be told to workers, for it is no UTF-8: name "
            "another one"
        )
    return path


def number_of(what: str, least: int, most: int) -> Callable[[str], int]:
    """The type of an option that is a whole number within bounds.

    Example:
        >>> number_of("port", 0, 65535)("x")
        Traceback (most recent call last):
        argparse.ArgumentTypeError: 'x' is no port: write a whole number from 0 to 65535
    """

    def read(text: str) -> int:
        if text.strip().isascii() and text.strip().isdecimal() and least <= int(text) <= most:
            return int(text)
        upwards = f"of at least {least}" if most == sys.maxsize else f"from {least} to {most}"
        raise argparse.ArgumentTypeError(f"{text!r} is no {what}: write a whole number {upwards}")

    return read


def given_path(text: str) -> Path:
    """The type of an option that is a path: an empty one would be the current directory.

    Example:
        >>> given_path("")
        Traceback (most recent call last):
        argparse.ArgumentTypeError: '' is no path: write one, or leave the option out
    """
    if not text:
        raise argparse.ArgumentTypeError("'' is no path: write one, or leave the option out")
    return Path(text)
