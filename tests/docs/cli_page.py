"""What docs/cli.md shows that commands print: made by running them on a real engine.

    python -m tests.docs.cli_page

A line ``<!-- output: NAME -->`` stands before each block of the page that is made here. Ids, times
and numbers are others each time; a test compares the rest (:func:`shape`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from armoflow.cli.logs import ELSEWHERE
from tests.cli.test_commands import Commanded
from tests.cli.test_up import PATIENCE, started
from tests.docs.snippets import ROOT
from tests.integration.gates import Gate

PAGE = ROOT / "docs" / "cli.md"

HOME = "/home/me"
"""What the page calls the folder that everything happens in."""

SCRIPTS = {
    "scr.py": """
import sys
from armoflow import Client, task

@task(batch_size=1, fuse=False)
def fetch(page):
    print("page", page)
    return page

@task(batch_size=4)
def parse(page):
    if page == 2:
        raise ValueError(f"page {page} is empty")
    return page

@task
def train(pages):
    raise RuntimeError(f"{len(pages)} pages are too few")

with Client() as client:
    client.submit(parse.map(range(4))).exception()
    client.submit(train(fetch.map(range(3)))).exception()
    print(client.compute(parse.map([0, 1, 4])), sys.argv[1:])
""",
    "nightly.py": """
import fcntl
from armoflow import Client, task

@task(batch_size=1)
def fetch(page):
    if page > 4:
        with open("gate", "rb") as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)
    return page

@task
def total(pages):
    return sum(pages)

with Client() as client:
    print(client.submit(total(fetch.map(range(10))), name="nightly").result())
""",
    "score.py": """
import time
from armoflow import Client, task

WEIGHT = 2

def weighted(number):
    return WEIGHT * number

@task(cache=True, batch_size=5)
def score(number):
    time.sleep(0.01)
    return weighted(number)

@task(cache=True, version="1")
def total(scores):
    return sum(scores)

with Client() as client:
    client.compute(total(score.map(range(45))))
""",
    "prices.py": """
import random
from pathlib import Path
from armoflow import Client, task

@task(cache=True, batch_size=1)
def load(number):
    return number

@task(cache=True)
def noise():
    return random.random()

@task(cache=True, batch_size=1)
def price(number):
    return number * int(Path(f"price-{number}").read_text())

with Client() as client:
    for graph in (load.map(range(5)), noise(), price.map([1, 2])):
        client.compute(graph)
""",
}

_BLOCK = re.compile(r"(?<=<!-- output: )(\w+)( -->\n```console\n)(.*?)(?=```)", re.S)

_OF_GRPC = re.compile(r"^[IWE]\d{4} \d\d:\d\d:\d.*\n", re.M)
"""What gRPC's own code logs on a busy machine, as of a shutdown that takes long."""


class Transcript:
    """Commands that are given to an engine, as the page shows them.

    Attributes:
        blocks: Those of the page, by their names.
        folder: Where the commands are given.
    """

    def __init__(self, commanded: Commanded, folder: Path) -> None:
        self.commanded = commanded
        self.folder = folder
        self.blocks: dict[str, str] = {}

    def told(self, name: str, *arguments: str, code: int = 0) -> None:
        """Add a command to a block."""
        self._add(name, arguments, self.commanded.run(*arguments, code=code))

    def typed(self, name: str, *arguments: str, code: int = 0, keys: str = "") -> None:
        """Add one that runs code, and so is a process; the debugger echoes what is typed there."""
        done = subprocess.run(
            [sys.executable, "-m", "armoflow", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            input=keys,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=self.commanded.environment,
        )
        assert done.returncode == code, (arguments, done.stdout)
        lines = iter(keys.splitlines(keepends=True))
        shown = re.sub(r"(?<=\(Pdb\) )", lambda _: next(lines, ""), done.stdout)
        self._add(name, arguments, shown.rstrip().removesuffix("(Pdb)"))

    def python(self, script: str) -> None:
        """Run a script of which the page does not tell."""
        subprocess.run(
            [sys.executable, script],
            env=self.commanded.environment,
            check=True,
            timeout=PATIENCE,
            stdout=subprocess.DEVNULL,
        )

    def _add(self, name: str, arguments: tuple[str, ...], printed: str) -> None:
        shown = f"$ armoflow {' '.join(arguments)}\n{printed}".replace(str(self.folder), HOME)
        shown = re.sub(r" +$", "", _OF_GRPC.sub("", shown), flags=re.M)
        self.blocks[name] = self.blocks.get(name, "") + shown.rstrip("\n") + "\n"


@contextmanager
def engine() -> Iterator[Transcript]:
    """An engine, and a folder with scripts for it, which is the user's home."""
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        folder = Path(directory).resolve()
        for name, text in SCRIPTS.items():
            (folder / name).write_text(text)
        patch.chdir(folder)
        patch.setenv("HOME", str(folder))
        for name in [name for name in os.environ if name.startswith(("ARMOFLOW_", "AK", "XDG_"))]:
            patch.delenv(name)
        up = ("up", "--listen", "127.0.0.1:0", "--state", f"{folder}/state", "--workers", "2")
        with started(*up) as (_, url):
            yield Transcript(Commanded(url), folder)


def outputs(transcript: Transcript) -> dict[str, str]:
    """The blocks of the page, by their names."""
    told, typed, commanded = transcript.told, transcript.typed, transcript.commanded
    typed("script", "run", "--endpoint", commanded.url, "scr.py", "--fast")
    with Gate(transcript.folder / "gate").closed():
        typed("leaving", "run", "--detach", "nightly.py")
        told("leaving", "runs")
        told("leaving", "resume", "nightly")
    told("leaving", "attach", "nightly")
    told("leaving", "attach", "weekly", code=1)
    told("runs", "runs")
    typed("again", "resume", "nightly", "nightly.py")
    by_run = {bool(one["run"]): one["id"] for one in commanded.sessions()}
    run, session = by_run[True], by_run[False]
    facts = commanded.json("show", session)
    failed = facts["failures"][0]["first"]
    told("sessions", "ps")
    told("sessions", "top", "--once")
    told("failures", "show", session)
    told("failures", "show", failed)
    told("failures", "show", facts["tasks with failed items"][0]["task"])
    typed("replay", "replay", failed, "--yes", "--pdb", code=1, keys="p pages\n")
    told("logs", "logs", session)
    told("logs", "logs", session, "--task", "fetch[2]", "--json")
    elsewhere = ELSEWHERE.format(session=session)
    transcript.blocks["elsewhere"] = f"$ armoflow logs {session}\narmoflow: error: {elsewhere}\n"
    told("files", "report", session, "-o", "run.html")
    told("files", "graph", session, "-o", "graph.svg")
    told("timeline", "timeline", session, "-o", "trace.json", "--json")
    told("config", "config", "show")
    told("doctor", "doctor")
    told("unreachable", "doctor", "--endpoint", "http://127.0.0.1:1", code=1)
    told("acting", "pause", run)
    told("acting", "resume", run)
    told("acting", "pause", session, code=2)
    told("acting", "cancel", run)
    told("acting", "purge", "--ended")
    _tell_of_the_cache(transcript)
    return transcript.blocks


def _tell_of_the_cache(transcript: Transcript) -> None:
    told, typed, score = transcript.told, transcript.typed, transcript.folder / "score.py"
    transcript.python("score.py")
    score.write_text(score.read_text().replace("WEIGHT * number", "WEIGHT * number + 1"))
    typed("explain", "explain", "score.py")
    typed("explain", "plan", "score.py")
    told("cache", "cache", "ls")
    told("cache", "cache", "show", "total")
    told("cache", "cache", "invalidate", "score", "total@1")
    for number in (1, 2):
        Path(f"price-{number}").write_text("100")
    transcript.python("prices.py")
    Path("price-2").write_text("120")
    told("verify", "cache", "verify", code=1)


def shape(text: str) -> list[list[str]]:
    """The words of an output, but for what is another each time: ids, numbers, units, hosts.

    Example:
        >>> shape("task 1229ddaa-52cc-4b7e-8274-000000000000  took 3.5 ms")
        [['task', '#', 'took', '#']]
    """
    text = re.sub(r"^([^\w\s] [^:]*):.*", r"\1", text, flags=re.M)  # what the doctor has found
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "7", text)
    text = re.sub(r"\d[\d.,:/-]*(e-\d+)?( (µs|ms|s|min|h|B|KiB|MiB|GiB)\b)?", "#", text)
    text = re.sub(r'(/[^\s",]+)+', "/", text)
    return [line.split() for line in text.splitlines()]


def blocks_of(page: str) -> dict[str, str]:
    """The blocks that stand in a page, by their names."""
    return {match[1]: match[3] for match in _BLOCK.finditer(page)}


def replaced(page: str, blocks: Mapping[str, str]) -> str:
    """The page with other blocks."""
    return _BLOCK.sub(lambda match: match[1] + match[2] + blocks[match[1]], page)


if __name__ == "__main__":
    with engine() as begun:
        PAGE.write_text(replaced(PAGE.read_text("utf-8"), outputs(begun)), "utf-8")
