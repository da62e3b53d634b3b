"""What goes along with a task's function, and what has to be where it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from armoflow.codec.functions import names_in
from armoflow.codec.modules import NEEDED, ModuleBundle, imports_of, is_user_module
from armoflow.errors import GraphError
from armoflow.foreign_keywords import refuse_arguments
from armoflow.graph.base_task import BaseTask
from armoflow.system.packages import package_of


@dataclass(frozen=True)
class Travels:
    """What a function takes along; printed, it is a list.

    Attributes:
        by_value: The modules of the user's own that go along, each with its file.
        by_name: The installed packages that it names, with the versions that are here: they have to
            be where it runs, in the worker's environment or by ``requirements``. What armoflow
            needs itself is left out.
    """

    by_value: dict[str, str]
    by_name: tuple[str, ...]

    def __str__(self) -> str:
        own = [f"  {name}  {path}" for name, path in self.by_value.items()]
        return "\n".join(
            [
                "by value, as it is here:",
                *(["  the function, with what it uses of its script", *own]),
                "by name, to be installed where it runs:",
                *([f"  {package}" for package in self.by_name] or ["  nothing"]),
            ]
        )


def what_travels(
    task: BaseTask[Any, Any] | Callable[..., Any], *more: NoReturn, **others: NoReturn
) -> Travels:
    """What goes along with a task, and what has to be installed where it runs.

    The one rule: what is installed travels by name, everything else by value. Arguments are not
    looked at: the modules and packages of their classes follow the same rule.

    Args:
        task: A task, or a function.
        more: There are none.
        others: Neither.

    Raises:
        SerializationError: If something that it uses cannot travel.
        SignatureError: If it is given anything else as well.
        GraphError: If it is neither a task nor a function.

    Example:
        >>> def load(path):
        ...     import json, yaml
        ...     return yaml.safe_load(path)
        >>> what_travels(load).by_name[0].partition(" ")[0].lower()
        'pyyaml'
    """
    refuse_arguments("what_travels", (), others, more, "it takes a task, and looks at no arguments")
    if not isinstance(task, BaseTask) and not callable(task):
        raise GraphError(f"what_travels() takes a task, or a function, not {task!r:.80}")
    named = names_in(task.function if isinstance(task, BaseTask) else task)
    bundle = ModuleBundle()
    bundle.add(name for name in named if is_user_module(name))
    by_value = {}
    for name, source in sorted(bundle.sources().items()):
        by_value[name] = source.path
        named |= imports_of(name, source)
    foreign = {name for name in named if name.partition(".")[0] not in NEEDED}
    packages = {package_of(name) for name in foreign if not is_user_module(name)}
    return Travels(by_value, tuple(sorted(packages - {""})))
