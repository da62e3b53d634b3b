"""How often each RPC was called, and in which order."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from pathlib import Path
from typing import TextIO

from armoflow.errors import OptionError

logger = logging.getLogger(__name__)


class CallLog:
    """Counts calls, named like ``Sessions/CreateSession``.

    Args:
        path: A file that gets one line of JSON a call, in the order in which they began.

    Raises:
        OptionError: If it cannot be written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._file: TextIO | None = None
        if path is not None:
            try:
                self._file = path.open("a", buffering=1, encoding="utf-8")
            except OSError as error:
                raise OptionError(
                    f"--log-calls {path} cannot be written: {error.strerror}; name a file in a "
                    "directory that is there"
                ) from error

    def record(self, method: str) -> None:
        """Count one call."""
        self.counts[method] += 1
        if self._file is None:
            return
        try:
            self._file.write(json.dumps({"time": time.time(), "method": method}) + "\n")
        except OSError as error:  # no reason to fail a call
            logger.warning("calls are logged no longer: %s", error)
            self._file = None

    def close(self) -> None:
        """Say what was called, and close the file."""
        for method, count in sorted(self.counts.items()):
            logger.info("%s was called %d times", method, count)
        if self._file is not None:
            self._file.close()
            self._file = None
