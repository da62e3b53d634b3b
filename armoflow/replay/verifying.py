"""What a cache keeps, computed again from what it was made of, and compared."""

from __future__ import annotations

import enum
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from armonik.protogen.common.worker_common_pb2 import ProcessRequest
from google.protobuf.json_format import MessageToJson

from armoflow.cache.recipe import (
    MODULES,
    PAYLOAD,
    Recipe,
    constant_id,
    decode_recipe,
    input_id,
    output_id,
)
from armoflow.codec.container import Buffer, keeps_promise
from armoflow.errors import EnvelopeError, RequirementsError
from armoflow.recipes import KeptRecipe
from armoflow.replay.compare import FOUND, KEPT
from armoflow.replay.dump import FILE
from armoflow.replay.process import Interpreter, interpreter_for

_Read = Callable[[Sequence[bytes]], "dict[bytes, Buffer]"]


class Verdict(enum.Enum):
    """What came of computing a result again."""

    SAME = "same"
    WRONG = "wrong"
    """Computed again, twice, it is something else, and twice the same."""
    NONDETERMINISTIC = "nondeterministic"
    """It is another each time."""
    FAILED = "failed"
    """What made it fails now."""
    UNKNOWN = "unknown"
    """It cannot be computed again."""


class Verified(NamedTuple):
    """A result that was computed again.

    Attributes:
        number: Its number in the index.
        task: The task's name.
        version: What stands for its code, if something does.
        verdict: What came of it.
        values: How many values were compared.
        text: What there is to say of it.
    """

    number: int
    task: str
    version: str | None
    verdict: Verdict
    values: int = 0
    text: str = ""


def verify(kept: KeptRecipe, read: _Read) -> Verified:
    """Compute a result again, here, and compare; what differs is computed once more.

    Args:
        kept: What it can be computed from.
        read: Gives data of the cache by opaque ids.
    """
    verdict, values, text = _judge(kept, read)
    return Verified(kept.number, kept.task, kept.version, verdict, values, text)


def _judge(kept: KeptRecipe, read: _Read) -> tuple[Verdict, int, str]:
    try:
        recipe = decode_recipe(kept.recipe)
    except EnvelopeError as error:
        return Verdict.UNKNOWN, 0, str(error)
    large = [each.opaque_id for each in recipe.inputs if each.data is None]
    data = read([kept.opaque_id, *large])
    content = data.get(kept.opaque_id)
    if content is None or not keeps_promise(content, kept.size, kept.checksum):
        return Verdict.UNKNOWN, 0, "the engine has its data no more"
    if any(opaque_id not in data for opaque_id in large):
        return Verdict.UNKNOWN, 0, "the engine has its inputs no more"
    with tempfile.TemporaryDirectory(prefix="armoflow-") as directory:
        folder = Path(directory)
        _lay_out(folder, kept, recipe, data)
        try:
            with interpreter_for(recipe.payload) as around:
                return _run(folder, kept.output, around)
        except RequirementsError as error:
            return Verdict.UNKNOWN, 0, f"it {error}"


def _run(folder: Path, output: int, around: Interpreter) -> tuple[Verdict, int, str]:
    first = _compute(folder, output, around)
    if "children" in first:
        return Verdict.UNKNOWN, 0, "it returns a graph, whose tasks are not run here"
    if "different" in first and not first["different"]:
        return Verdict.SAME, first["values"], ""
    return _tell_apart(first, _compute(folder, output, around))


def _tell_apart(first: dict[str, Any], second: dict[str, Any]) -> tuple[Verdict, int, str]:
    """What it is that is not as it was, computed twice."""
    values = first.get("values", 0)
    if first != second:
        return Verdict.NONDETERMINISTIC, values, "it is another each time"
    if "failed" in first:
        return Verdict.FAILED, 0, first["failed"]
    different = len(first["different"])
    return Verdict.WRONG, values, f"{different} of {values} values are not what it gives now, twice"


def _lay_out(folder: Path, kept: KeptRecipe, recipe: Recipe, data: dict[bytes, Buffer]) -> None:
    """Write the task as ``armoflow replay --save`` does."""
    request = ProcessRequest(
        session_id="kept",
        task_id=f"{kept.task} {kept.number}",
        payload_id=PAYLOAD,
        data_dependencies=[*map(input_id, range(len(recipe.inputs)))],
        expected_output_keys=[*map(output_id, range(recipe.outputs))],
    )
    files: dict[str, Buffer] = {PAYLOAD: recipe.payload, KEPT: data[kept.opaque_id]}
    for number, (opaque_id, small) in enumerate(recipe.inputs):
        files[input_id(number)] = data[opaque_id] if small is None else small
    for number, constant in enumerate(recipe.constants):
        files[constant_id(number)] = constant
    if kept.modules is not None:
        files[MODULES] = kept.modules[1]
    (folder / FILE).write_text(MessageToJson(request), "utf-8")
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _compute(folder: Path, output: int, around: Interpreter) -> dict[str, Any]:
    """Run it in a process of its own; what that found."""
    found = folder / FOUND
    found.unlink(missing_ok=True)
    python = around.python or sys.executable
    with subprocess.Popen(
        [python, "-m", "armoflow.replay.compare", str(folder), str(output)],
        env=around.variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a group of its own, to kill what the task has started
    ) as process:
        try:
            _, errors = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    try:
        told: dict[str, Any] = json.loads(found.read_text("utf-8"))
    except (OSError, ValueError):
        lines = errors.decode(errors="replace").strip().splitlines()
        return {"failed": lines[-1] if lines else f"its process ended with {process.returncode}"}
    return told
