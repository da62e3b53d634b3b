"""What docs/cli.md shows that commands print: made by running them on a real engine.

    python -m tests.docs.cli_page

A line ``<!-- output: NAME -->`` stands before each block of the page that is made here. Ids, times
and numbers are others each time; a test compares the rest (:func:`shape`).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.cli.test_commands import Commanded
from tests.cli.test_up import PATIENCE, started
from tests.docs.snippets import ROOT

PAGE = ROOT / "docs" / "cli.md"

SCRIPT = """
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

@task
def total(pages):
    return sum(pages)

with Client(name="scr") as client:
    client.submit(parse.map(range(4))).exception()
    client.submit(train(fetch.map(range(3)))).exception()
    client.submit(total(fetch.map(range(10))), name="nightly").result()
"""

_BLOCK = re.compile(r"(?<=<!-- output: )(\w+)( -->\n```console\n)(.*?)(?=```)", re.S)


@contextmanager
def engine() -> Iterator[Commanded]:
    """An engine that a script has used."""
    with tempfile.TemporaryDirectory() as directory:
        up = ("up", "--listen", "127.0.0.1:0", "--state", directory, "--workers", "2")
        with started(*up) as (_, url):
            commanded = Commanded(url)
            script = Path(directory) / "scr.py"
            script.write_text(SCRIPT)
            subprocess.run(
                [sys.executable, script],
                env=commanded.environment,
                check=True,
                timeout=PATIENCE,
                stdout=subprocess.DEVNULL,
            )
            yield commanded


def outputs(commanded: Commanded) -> dict[str, str]:
    """The blocks of the page, by their names."""
    blocks: dict[str, str] = {}

    def told(name: str, *arguments: str, code: int = 0) -> None:
        shown = f"$ armoflow {' '.join(arguments)}\n{commanded.run(*arguments, code=code)}"
        shown = re.sub(r" +$", "", shown, flags=re.M)
        blocks[name] = blocks.get(name, "") + shown.rstrip("\n") + "\n"

    by_run = {bool(one["run"]): one["id"] for one in commanded.sessions()}
    run, session = by_run[True], by_run[False]
    facts = commanded.json("show", session)
    told("runs", "runs")
    told("runs", "attach", "nightly")
    told("sessions", "ps")
    told("sessions", "top", "--once")
    told("failures", "show", session)
    told("failures", "show", facts["failures"][0]["first"])
    told("failures", "show", facts["tasks with failed items"][0]["task"])
    told("logs", "logs", session)
    told("logs", "logs", session, "--task", "fetch[2]", "--json")
    with tempfile.TemporaryDirectory() as directory:
        for command, file in (("report", "run.html"), ("graph", "graph.svg")):
            written = commanded.run(command, session, "-o", f"{directory}/{file}")
            shown = written.replace(f"{directory}/", "")
            blocks["files"] = blocks.get("files", "") + (
                f"$ armoflow {command} {session} -o {file}\n{shown}"
            )
    told("doctor", "doctor")
    told("acting", "pause", run)
    told("acting", "resume", run)
    told("acting", "pause", session, code=2)
    told("acting", "cancel", run)
    told("acting", "purge", "--ended")
    return blocks


def shape(text: str) -> list[list[str]]:
    """The words of an output, but for what is another each time: ids, numbers, units, hosts.

    Example:
        >>> shape("task 1229ddaa-52cc-4b7e-8274-000000000000  took 3.5 ms")
        [['task', '#', 'took', '#']]
    """
    text = re.sub(r"^([^\w\s] [^:]*):.*", r"\1", text, flags=re.M)  # what the doctor has found
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "7", text)
    text = re.sub(r"\d[\d.,:/-]*( (µs|ms|s|min|h|B|KiB|MiB|GiB)\b)?", "#", text)
    text = re.sub(r'(/[^\s",]+)+', "/", text)
    return [line.split() for line in text.splitlines()]


def blocks_of(page: str) -> dict[str, str]:
    """The blocks that stand in a page, by their names."""
    return {match[1]: match[3] for match in _BLOCK.finditer(page)}


def replaced(page: str, blocks: Mapping[str, str]) -> str:
    """The page with other blocks."""
    return _BLOCK.sub(lambda match: match[1] + match[2] + blocks[match[1]], page)


if __name__ == "__main__":
    with engine() as asked:
        PAGE.write_text(replaced(PAGE.read_text("utf-8"), outputs(asked)), "utf-8")
