"""Python workflows on ArmoniK, from a laptop to a cluster."""

from armoflow.client.client import Client
from armoflow.client.future import Future
from armoflow.client.put import Put
from armoflow.graph.collection import DelayedList, items, zip_items
from armoflow.graph.context import compute
from armoflow.graph.delayed import Delayed
from armoflow.graph.task import Task, task

__version__ = "0.1.0"

__all__ = [
    "Client",
    "Delayed",
    "DelayedList",
    "Future",
    "Put",
    "Task",
    "__version__",
    "compute",
    "items",
    "task",
    "zip_items",
]
