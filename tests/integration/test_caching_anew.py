"""A script that is run again, from a fresh interpreter: it runs nothing and moves little."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from tests.integration.engines import EMBEDDED, Up
from tests.network.relay import Relay

SCRIPT = """
    import sys, time
    from pathlib import Path
    from armoflow import Client, task

    ran = Path(sys.argv[2])

    class Place:
        def __armoflow_key__(self):
            return "place"

        def mark(self):
            (ran / str(time.monotonic_ns())).touch()

    @task(cache=True)
    def start(number: int, place: Place) -> int:
        place.mark()
        return number

    @task(cache=True)
    def add(first: int, second: int, place: Place) -> int:
        place.mark()
        return first + second

    place = Place()
    layer = [start(number, place) for number in range(100)]
    for _ in range(int(sys.argv[3]) - 1):
        layer = [add(layer[i], layer[i - 1], place) for i in range(100)]
    with Client(sys.argv[1], workers=2) as client:
        print(sum(client.compute(*layer)))
"""


def test_a_graph_of_1000_calls_that_was_computed_moves_less_than_100_kilobytes(
    engine: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMOFLOW_CACHE", str(tmp_path / "cache"))
    script, ran = tmp_path / "script.py", tmp_path / "ran"
    script.write_text(textwrap.dedent(SCRIPT))
    ran.mkdir()
    layers = 10 if engine.arguments == EMBEDDED else 3  # 300 calls on a stock one, where each costs
    printed, counts = [], []
    with tempfile.TemporaryDirectory(prefix="af-") as directory:
        relay = Relay(engine.endpoint, directory)
        for _ in range(2):
            relay.moved = 0
            command = [sys.executable, str(script), relay.endpoint, str(ran), str(layers)]
            completed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            printed.append(completed.stdout)
            counts.append(len(list(ran.iterdir())))
        relay.stop()
    assert counts[0] == counts[1] >= 100 * layers  # what is late is given away, and may run twice
    assert printed == [f"{4950 * 2 ** (layers - 1)}\n"] * 2
    assert relay.moved < 100_000  # most of it the hundred values
