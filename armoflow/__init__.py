"""Python workflows on ArmoniK, from a laptop to a cluster."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from armoflow.graph.context import Computer, register_default_computer

# Here and not with the others, because there is a module of this name: once that is imported, the
# name would be its.
from armoflow.options import options
from armoflow.version import __version__

if TYPE_CHECKING:
    from armoflow.client.async_client import AsyncClient
    from armoflow.client.client import Client
    from armoflow.client.future import Future
    from armoflow.client.put import Put
    from armoflow.client.travelling import what_travels
    from armoflow.files import File, FileCopy, FolderCopy, file, folder
    from armoflow.graph.collection import DelayedList, items, zip_items
    from armoflow.graph.context import compute
    from armoflow.graph.delayed import Delayed
    from armoflow.graph.task import Task, task
    from armoflow.resources import WorkerResource, worker_resource
    from armoflow.running import CurrentTask, current_task

__all__ = [
    "AsyncClient",
    "Client",
    "CurrentTask",
    "Delayed",
    "DelayedList",
    "File",
    "FileCopy",
    "FolderCopy",
    "Future",
    "Put",
    "Task",
    "WorkerResource",
    "__version__",
    "compute",
    "current_task",
    "file",
    "folder",
    "items",
    "options",
    "task",
    "what_travels",
    "worker_resource",
    "zip_items",
]

_MODULES = {
    "AsyncClient": "armoflow.client.async_client",
    "Client": "armoflow.client.client",
    "CurrentTask": "armoflow.running",
    "Delayed": "armoflow.graph.delayed",
    "DelayedList": "armoflow.graph.collection",
    "File": "armoflow.files",
    "FileCopy": "armoflow.files",
    "FolderCopy": "armoflow.files",
    "Future": "armoflow.client.future",
    "Put": "armoflow.client.put",
    "Task": "armoflow.graph.task",
    "WorkerResource": "armoflow.resources",
    "compute": "armoflow.graph.context",
    "current_task": "armoflow.running",
    "file": "armoflow.files",
    "folder": "armoflow.files",
    "items": "armoflow.graph.collection",
    "task": "armoflow.graph.task",
    "what_travels": "armoflow.client.travelling",
    "worker_resource": "armoflow.resources",
    "zip_items": "armoflow.graph.collection",
}


def __getattr__(name: str) -> Any:
    # Names are imported when they are first used: engines and worker processes import this package
    # too, and must not pay for the client.
    module = _MODULES.get(name)
    if module is None:
        remedy = _remedy(name)
        if remedy and sys._getframe(1).f_code.co_name == "_handle_fromlist":
            # Of what `from armoflow import name` meets, Python would leave out the remedy.
            raise ImportError(f"cannot import name {name!r} from 'armoflow'{remedy}", name=name)
        raise AttributeError(f"module 'armoflow' has no attribute {name!r}{remedy}")
    from importlib import import_module

    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def _remedy(name: str) -> str:
    if name.startswith("_"):
        return ""
    from armoflow.client.neighbours import OF_PACKAGES

    return f": write armoflow.{OF_PACKAGES[name]}" if name in OF_PACKAGES else ""


def __dir__() -> list[str]:
    return __all__


def _default_client() -> Computer:
    from armoflow.client.default import default_client

    return default_client()


register_default_computer(_default_client)
