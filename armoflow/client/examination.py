"""What a worker is: asked by one task that tells of where it runs."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Any

from armoflow.codec.compatibility import own_versions
from armoflow.graph.task import task
from armoflow.system.grants import processors
from armoflow.system.memory import container_memory


@task(name="examine")
def examine() -> dict[str, Any]:
    """What the worker that runs this has: bytes of memory and of disk, processors, versions."""
    limit = container_memory()
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "host": platform.node(),
        "user": os.getuid(),
        "processors": processors(),
        "memory": machine if limit is None else limit.limit,
        "disk free": shutil.disk_usage(Path.cwd()).free,
        "versions": own_versions(),
    }
