"""What tasks may change in their process, by how often it is looked at.

Some of it is Python's, some the kernel's, some what modules of the standard library keep for all of
their process.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import sys
from typing import NamedTuple

from armoflow.worker import (
    kernel_items,
    library_items,
    library_registries,
    library_settings,
    python_items,
)
from armoflow.worker.kernel_settings import kernel_settings, set_kernel_settings
from armoflow.worker.library_functions import LibraryFunctions
from armoflow.worker.process_item import STREAMS, Item
from armoflow.worker.python_items import (
    attributes,
    environment,
    handlers,
    identities,
    lists,
    loaded_modules,
)

_SIGNALS = tuple(
    getattr(_signal, name)
    for name in (
        *("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF"),
        *("SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE", "SIGXCPU", "SIGTSTP", "SIGWINCH"),
    )
    if hasattr(_signal, name)
)


class ProcessItems(NamedTuple):
    """What a process has around its tasks, by how often it is looked at.

    Attributes:
        cheap: It costs little to look.
        written: It is written without a look, which would cost more.
        compared: Only tasks that reach something can have changed it.
        seldom: It costs much to look.
        rarely: It costs more than that.
    """

    cheap: list[Item]
    written: list[Item]
    compared: list[Item]
    seldom: list[Item]
    rarely: list[Item]


def all_items(owner: int) -> ProcessItems:
    """What this process has around its tasks.

    Args:
        owner: The process that started this one: its limits are these.
    """
    functions = LibraryFunctions()
    own = [name for name in sys.modules if name.partition(".")[0] in ("__main__", "armoflow")]
    rare = sorted(set(map(int, _signal.valid_signals())) - set(map(int, _SIGNALS)))
    return ProcessItems(
        cheap=[
            identities("os.environ", "os.environb", "sys.modules"),
            environment(),
            library_items.ZONE,
            library_items.SILENCED,
            attributes(
                *(f"sys.{name}" for name in STREAMS),
                *("sys.excepthook", "sys.displayhook", "sys.unraisablehook", "sys.breakpointhook"),
                "threading.excepthook",
            ),
            lists(
                *("sys.path", "sys.meta_path", "sys.path_hooks", "sys.argv", "warnings.filters"),
                "gc.callbacks",
            ),
            python_items.SWITCHES,
            handlers(_SIGNALS),
        ],
        written=[
            kernel_items.UMASK,
            kernel_items.BLOCKED_SIGNALS,
            kernel_items.TIMERS,
            kernel_items.WAKEUP,
            kernel_items.FAULTS,
            kernel_items.directory(),
        ],
        compared=[
            loaded_modules(own),
            library_items.reducers(),
            library_items.MEMORY_TRACER,
            library_items.LOCALE,
            library_items.DECIMALS,
            library_items.FLOAT_ERRORS,
            library_items.TEMPORARY,
            python_items.PRINTED,
            library_items.START_METHOD,
            library_items.EVENT_LOOPS,
            kernel_items.limits(owner),
            Item(library_settings.logging_settings, library_settings.set_logging),
        ],
        seldom=[
            loaded_modules(list(sys.modules)),
            handlers(rare),
            python_items.STREAM_FORMS,
            python_items.MONITORS,
            kernel_items.SHARE,
            kernel_items.USER,
            Item(library_settings.opener, library_settings.set_opener),
            Item(library_settings.field_limit, library_settings.set_field_limit),
            Item(library_settings.extensions, library_settings.set_extensions),
            Item(library_registries.dialects, library_registries.set_dialects),
            python_items.OF_PROCESS,
            Item(library_settings.builtin_names, library_settings.set_builtin_names),
        ],
        rarely=[
            Item(functions.read, functions.write),
            Item(library_registries.registries, library_registries.set_registries),
            kernel_items.ADOPTED,
            Item(kernel_settings, set_kernel_settings),
        ],
    )
