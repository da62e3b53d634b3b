"""Successes whose data cannot be stored now: kept, and tried again for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from armoflow.agent.effects import Effects

FIRST_PAUSE: Final = 0.05
LAST_PAUSE: Final = 2.0
"""Seconds between two tries; doubles each time."""

PATIENCE: Final = 30.0
"""Seconds after which a task fails whose data could not be stored: somebody waits for it."""

Success = tuple[str, Effects]


class Postponed:
    """Keeps successes for another try.

    Args:
        again: Takes them again; what cannot be stored even then is given back to ``keep``.
    """

    def __init__(self, again: Callable[[Sequence[Success]], object]) -> None:
        self._again = again
        self._loop = asyncio.get_running_loop()
        self._kept: list[Success] = []
        self._since: dict[str, float] = {}
        self._pause = FIRST_PAUSE
        self._timer: asyncio.TimerHandle | None = None

    def keep(self, task_id: str, effects: Effects) -> bool:
        """Keep a success; False if it was tried for too long."""
        now = self._loop.time()
        if now - self._since.setdefault(task_id, now) >= PATIENCE:
            del self._since[task_id]
            return False
        self._kept.append((task_id, effects))
        if self._timer is None:
            self._timer = self._loop.call_later(self._pause, self._try_again)
            self._pause = min(2 * self._pause, LAST_PAUSE)
        return True

    def stop(self) -> None:
        """Try nothing again: the tasks are run anew after the next start."""
        if self._timer is not None:
            self._timer.cancel()

    def _try_again(self) -> None:
        self._timer = None
        kept, self._kept = self._kept, []
        self._again(kept)
        left = {task_id for task_id, _ in self._kept}
        self._since = {task_id: since for task_id, since in self._since.items() if task_id in left}
        if not left:
            self._pause = FIRST_PAUSE
