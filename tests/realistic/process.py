"""The realistic engine as tests start it: a process of its own."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from armoflow.engine.records import SessionStatus
from tests.integration.engines import Up


class Realistic(Up):
    """An engine started with ``python -m tests.realistic``.

    Args:
        directory: Where its state, socket and logs go.
        arguments: Further arguments of the command.
        seed: Of what it does.
        conduct: What differs from how it behaves by itself.
    """

    program = (sys.executable, "-m", "tests.realistic")

    def __init__(self, directory: Path, *arguments: str, seed: int = 0, **conduct: Any) -> None:
        self._counts = directory / "counts.json"
        super().__init__(
            directory,
            *("--seed", str(seed), "--conduct", json.dumps(conduct)),
            *("--counts", str(self._counts), *arguments),
        )

    def counts(self) -> dict[str, int]:
        """What it has done, once it was stopped."""
        counts: dict[str, int] = json.loads(self._counts.read_text())
        return counts

    def open_sessions(self) -> tuple[list[str], int]:
        """The sessions that have not ended, once it was stopped.

        Returns:
            Those with something in them, and the number of the others: their creation was answered
            with a fault, so that nobody knows of them.
        """
        connection = sqlite3.connect(self.directory / "state" / "journal.db")
        try:
            rows = connection.execute(
                "SELECT id, status, EXISTS(SELECT 1 FROM results WHERE session_id=sessions.id)"
                " FROM sessions"
            ).fetchall()
        finally:
            connection.close()
        live = (SessionStatus.RUNNING, SessionStatus.PAUSED)
        left = [(key, used) for key, status, used in rows if status in live]
        used = [f"session {key} has not ended" for key, used in left if used]
        return used, len(left) - len(used)
