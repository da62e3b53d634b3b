"""``python -m armoflow.replay FOLDER [--data FOLDER] [--pdb] [--json]``: runs a saved task again.

A process of its own, with the environment that workers get. It is what to start in a debugger.
"""

from __future__ import annotations

import argparse
import json
import pdb  # noqa: T100 - it is what --pdb asks for
import reprlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from armoflow.codec.failure import ErrorRecord
from armoflow.errors import ReplayError
from armoflow.replay.dump import read_dump
from armoflow.replay.rerun import Replayed, ReplayedItem, rerun

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

_WIDTH: Final = 1_000
"""Characters of a value that are shown."""

_SHOWN: Final = 20
"""Items that are shown of each kind."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; returns 0 if nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m armoflow.replay", description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--pdb", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    try:
        replayed = rerun(read_dump(chosen.path, chosen.data), alone=True, within=chosen.within)
    except ReplayError as error:
        print(f"armoflow: error: {error}", file=sys.stderr)
        return EXIT_USAGE
    if chosen.json:
        print(json.dumps(_as_data(replayed), indent=2))
    else:
        _tell(replayed)
    if chosen.pdb:
        _debug(replayed)
    return 0 if replayed.ok else EXIT_FAILED


def _tell(replayed: Replayed) -> None:
    failed = [item for item in replayed.items if item.error is not None]
    done = [item for item in replayed.items if item.error is None]
    for item in done[:_SHOWN]:
        print(f"{item.name} = {_short(item.value)}")
    if len(done) > _SHOWN:
        print(f"... and {len(done) - _SHOWN:,} more that completed")
    for item in failed[:_SHOWN]:
        assert item.error is not None
        print(f"{item.name} {'was skipped' if item.skipped else 'failed'}: {item.error.summary}")
        print(_trace(item.error))
    if len(failed) > _SHOWN:
        print(f"... and {len(failed) - _SHOWN:,} more that failed")
    for changed in replayed.changed[:_SHOWN]:
        print(f"{changed}.")
    if replayed.children:
        print(f"It would submit {replayed.children:,} child tasks, which are not run here.")
    if replayed.problem:
        print(replayed.problem)


def _as_data(replayed: Replayed) -> dict[str, Any]:
    return {
        "task": replayed.name,
        "ok": replayed.ok,
        "items": [_item_as_data(item) for item in replayed.items],
        "changed": [*replayed.changed],
        "children": replayed.children,
        "problem": replayed.problem or None,
    }


def _item_as_data(item: ReplayedItem) -> dict[str, Any]:
    error = item.error
    return {
        "name": item.name,
        "value": None if error else _short(item.value),
        "error": error and error.summary,
        "traceback": error and _trace(error),
        "skipped": item.skipped,
    }


def _trace(error: ErrorRecord) -> str:
    return str(error.cause()).rstrip()


def _short(value: Any) -> str:
    limits = reprlib.Repr()
    limits.maxstring = limits.maxother = limits.maxlong = _WIDTH
    return limits.repr(value)


def _debug(replayed: Replayed) -> None:
    if replayed.exception is None:
        print("The task's code has raised nothing: there is nothing to debug.")
        return
    trace = replayed.exception.__traceback__
    while trace is not None and trace.tb_next is not None and _is_ours(trace.tb_frame.f_globals):
        trace = trace.tb_next
    pdb.post_mortem(trace)


def _is_ours(scope: dict[str, Any]) -> bool:
    return str(scope.get("__name__", "")).startswith("armoflow.")


if __name__ == "__main__":
    sys.exit(main())
