"""dask's collections on armoflow: :func:`get` is a scheduler, for ``scheduler=`` of any compute.

Each task of dask's graph becomes a call, so what stays between tasks stays on the engine, and only
what was asked for comes back.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from armoflow.errors import OptionError
from armoflow.graph.context import get_computer
from armoflow.graph.lazy import Lazy
from armoflow.graph.task import Task
from armoflow.integrations.extras import missing
from armoflow.options import OPTION_NAMES, TaskOptions, make_options, merge_options

try:
    from dask._task_spec import Alias, DataNode, GraphNode, convert_legacy_graph
    from dask.core import flatten, toposort
    from dask.optimization import cull
    from dask.utils import key_split
except ImportError as _error:
    raise missing("dask", _error) from _error

if TYPE_CHECKING:
    from armoflow.client.client import Client

_OF_OTHERS = frozenset(
    {
        *("num_workers", "pool", "chunksize", "cache", "callbacks", "initializer"),
        *("func_loads", "func_dumps", "rerun_exceptions_locally", "raise_exception"),
        *("optimize_graph", "traverse", "sync", "pure"),
    }
)
"""What dask's own schedulers take: about their pools, of which there is none here."""


def get(dsk: Any, keys: Any, *, client: Client | None = None, **options: Any) -> Any:
    """Run a graph of dask's: a scheduler, as ``dask.threaded.get`` is one.

    Annotations of the graph that have the name of a task option are the options of its tasks:
    ``with dask.annotate(retries=2)``.

    Args:
        dsk: The graph, or an expression that has one.
        keys: A key, or a list of keys or of such lists.
        client: Runs it; by default the current client, or the default one.
        options: Options of the tasks, which hold where an annotation says nothing; see
            :class:`armoflow.options.TaskOptions`. What dask's own schedulers take is ignored.

    Returns:
        The value of the key; of a list, the tuple of their values.

    Raises:
        OptionError: If an option, or an annotation of its name, is out of range, or ``client`` is
            none.
        BaseException: What a task raised; its ``__cause__`` says where.

    Example:
        >>> import dask
        >>> from armoflow import Client
        >>> lengths = [dask.delayed(len)(word) for word in ("to", "boldly", "go")]
        >>> with Client(local=True):
        ...     dask.compute(lengths, scheduler=get)
        ([2, 6, 2],)
    """
    if client is not None and not callable(getattr(client, "compute", None)):
        raise OptionError(f"client must be a Client, not {client!r}: leave it out, or make one")
    given = make_options({name: options[name] for name in options if name not in _OF_OTHERS})
    annotations = dsk.__dask_annotations__() if hasattr(dsk, "__dask_annotations__") else {}
    graph = dsk if isinstance(dsk, Mapping) else dsk.__dask_graph__()
    wanted = list(flatten([keys]))
    values = _Translation(graph, wanted, given, annotations).values
    lazy = {key: values[key] for key in wanted if isinstance(values[key], Lazy)}
    if lazy:
        computer = get_computer() if client is None else client
        values.update(zip(lazy, computer.compute(list(lazy.values())), strict=True))
    return _arrange(keys, values)


class _Translation:
    """A graph of dask's as calls.

    Attributes:
        values: Of each key, what its call returned, or the value itself where nothing is to do.
    """

    def __init__(
        self,
        graph: Mapping[Any, Any],
        wanted: list[Hashable],
        options: TaskOptions,
        annotations: Mapping[str, Mapping[Hashable, Any]],
    ) -> None:
        nodes, dependencies = cull(convert_legacy_graph(graph), wanted)
        self.values: dict[Any, Any] = {}
        self._options = options
        self._annotations = {
            name: of_keys for name, of_keys in annotations.items() if name in OPTION_NAMES
        }
        self._tasks: dict[tuple[str, TaskOptions], Task[..., Any]] = {}
        for key in toposort(nodes, dependencies=dependencies):
            self.values[key] = self._value(key, nodes[key])

    def _value(self, key: Hashable, node: GraphNode) -> Any:
        if isinstance(node, DataNode):
            return node.value
        if isinstance(node, Alias):
            return self.values[node.target]
        needed = tuple(node.dependencies)
        return self._task(key)(node, needed, *(self.values[name] for name in needed))

    def _task(self, key: Hashable) -> Task[..., Any]:
        """The task of a key: one for all that share a prefix, which may share engine tasks."""
        name = key_split(key)
        options = self._options
        annotated = {
            option: of_keys[key] for option, of_keys in self._annotations.items() if key in of_keys
        }
        if annotated:
            options = merge_options(make_options(annotated), options)
        task = self._tasks.get((name, options))
        if task is None:
            task = self._tasks[name, options] = Task(run_node, name=name, options=options)
        return task


def run_node(node: GraphNode, needed: tuple[Hashable, ...], *values: Any) -> Any:
    """What the task of a node runs, on a worker.

    Args:
        node: The node, as dask made it.
        needed: The keys that it depends on.
        values: Their values.
    """
    return node(dict(zip(needed, values, strict=True)))


def _arrange(keys: Any, values: Mapping[Any, Any]) -> Any:
    if isinstance(keys, list):
        return tuple(_arrange(key, values) for key in keys)
    return values[keys]
