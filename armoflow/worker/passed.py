"""What tasks of one process pass on to later ones, without a way to the owner and back."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from armoflow.agent.effects import Effects
from armoflow.protocol.shared_files import remove_file
from armoflow.worker.data import DataSource


class Passed:
    """Outputs that a later task of this process needs: kept from the one to the other.

    What the last task made is kept in any case, if it is small: who needs it may be on its way.
    Tasks run in one thread; another one takes back those that have not begun.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected: set[str] = set()
        self._here: dict[str, DataSource] = {}
        self._last: dict[str, Any] = {}

    def expect(self, result_ids: Iterable[str]) -> None:
        """A task came that needs these."""
        self._expected.update(result_ids)

    def keep(self, effects: Effects) -> None:
        """A task succeeded; its owner, who is not told yet, will move the files away."""
        self._last = effects.data
        if not self._expected:
            return
        with self._lock:
            for result_id, data in effects.data.items():
                if result_id not in self._expected:
                    continue
                if isinstance(data, bytes):
                    self._here[result_id] = data
                    continue
                link = f"{data.path}-passed"
                with suppress(OSError):  # a file system without links: the task is given back
                    os.link(data.path, link)
                    self._here[result_id] = [link, data.size]

    def take(self, result_ids: Iterable[str]) -> dict[str, DataSource]:
        """What a task needs, as far as it is here; :meth:`drop` it afterwards."""
        with self._lock:
            self._expected.difference_update(result_ids)
            taken = {}
            for result_id in result_ids:
                if result_id in self._here:
                    taken[result_id] = self._here.pop(result_id)
                elif isinstance(data := self._last.get(result_id), bytes):
                    taken[result_id] = data
            return taken

    def drop(self, taken: dict[str, DataSource]) -> None:
        """What was taken is not needed any more."""
        for source in taken.values():
            if not isinstance(source, bytes):
                remove_file(str(source[0]))
