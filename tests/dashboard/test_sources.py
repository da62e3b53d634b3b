"""Whom tasks are asked of."""

from __future__ import annotations

from typing import Any

import pytest

from armoflow.dashboard.sources import EngineRows, StandardCalls, source_of
from armoflow.errors import EngineError
from armoflow.protocol.engine_info import EngineInfo


class Asked:
    """An engine that refuses what armoflow's own answers."""

    def __init__(self, version: str, code: str) -> None:
        self.info = EngineInfo(version, ("p",), 1)
        self.asked: list[str] = []
        self._code = code

    def stream(self, method: str, request: bytes, what: str, timeout: float | None = None) -> Any:
        self.asked.append(method)
        raise EngineError(what, self._code)


@pytest.mark.parametrize(("version", "asked"), [("0.40.1", 0), ("0.40.1-armoflow.batch", 1)])
def test_what_knows_no_rows_is_asked_by_standard_calls(version: str, asked: int) -> None:
    engine: Any = Asked(version, "UNIMPLEMENTED")
    assert isinstance(source_of(engine, "s"), StandardCalls)
    assert engine.asked == ["/armoflow.Extension/RunningTasks"] * asked


def test_an_outage_is_not_taken_for_another_kind_of_engine() -> None:
    engine: Any = Asked("0.40.1-armoflow.batch", "UNAVAILABLE")
    with pytest.raises(EngineError, match="reading the running tasks"):
        source_of(engine, "s")
    assert EngineRows(engine, "s").seconds == 0.0
