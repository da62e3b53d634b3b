"""A task that was saved, run again by the runner of the workers."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from armonik.protogen.common.worker_common_pb2 import ProcessRequest
from google.protobuf.json_format import MessageToJson

from armoflow import task
from armoflow.codec.bundle import pack_bundle
from armoflow.codec.payload_layout import unpack_payload
from armoflow.errors import ReplayError
from armoflow.replay import __main__ as program
from armoflow.replay.dump import FILE, TaskDump, read_dump
from armoflow.replay.rerun import rerun
from tests.orchestrator.simulated import Simulation


class Saving(Simulation):
    """Saves each task before it is run."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self.saved: list[Path] = []
        run = self.engine.run

        def save(
            task_id: str, payload: bytes, inputs: Sequence[str], outputs: Sequence[str]
        ) -> None:
            folder = directory / f"saved {len(self.saved)}"
            folder.mkdir()
            for result_id, data in self.engine.data.items():
                (folder / result_id).write_bytes(data)
            (folder / "payload").write_bytes(payload)
            request = ProcessRequest(
                session_id="session",
                task_id=task_id,
                payload_id="payload",
                data_dependencies=inputs,
                expected_output_keys=outputs,
            )
            (folder / FILE).write_text(MessageToJson(request))
            self.saved.append(folder)
            run(task_id, payload, inputs, outputs)

        self.engine.run = save  # type: ignore[method-assign]

    def dump(self, number: int) -> TaskDump:
        """What a task was given."""
        return read_dump(self.saved[number])


@task
def double(number: int) -> int:
    return 2 * number


@task
def half(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


apart = half.with_options(fuse=False)


@task(outputs=2)
def split(number: int) -> tuple[int, int]:
    return number // 10, number % 10


@task
def countdown(number: int) -> Any:
    return countdown(number - 1) if number else 0


def test_a_call_is_run_again_with_the_values_of_its_inputs(tmp_path: Path) -> None:
    simulation = Saving(tmp_path)
    assert simulation.value(apart(double(4))) == 4
    first, second = rerun(simulation.dump(0)), rerun(simulation.dump(1))
    assert [(item.name, item.value) for item in first.items] == [("double", 8)]
    assert [(item.name, item.value) for item in second.items] == [("half", 4)]
    assert first.ok and second.ok and second.exception is None


def test_what_failed_fails_again_and_its_frames_are_kept(tmp_path: Path) -> None:
    simulation = Saving(tmp_path)
    with pytest.raises(ValueError, match="3 is odd"):
        simulation.value(half(3))
    replayed = rerun(simulation.dump(0))
    assert not replayed.ok
    (item,) = replayed.items
    assert item.error is not None and "ValueError: 3 is odd" in item.error.summary
    assert isinstance(replayed.exception, ValueError)
    trace = replayed.exception.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None and trace.tb_frame.f_locals == {"number": 3}


def test_of_tasks_that_share_a_payload_one_is_run_again(tmp_path: Path) -> None:
    simulation = Saving(tmp_path)
    assert simulation.value(apart(double(4))) == 4
    dumps = [simulation.dump(0), simulation.dump(1)]
    outputs = [dump.request.expected_output_keys[0] for dump in dumps]
    payloads = [unpack_payload(dump.data("payload").read_bytes()) for dump in dumps]
    bundle = b"".join(pack_bundle(zip(outputs, payloads, strict=True)))
    for folder in simulation.saved:
        (folder / "payload").write_bytes(bundle)
    items = [rerun(simulation.dump(number)).items for number in (0, 1)]
    assert [(item.name, item.value) for (item,) in items] == [("double", 8), ("half", 4)]


def test_the_items_of_a_batch_are_told_by_name(tmp_path: Path) -> None:
    simulation = Saving(tmp_path)
    simulation.compute(half.with_options(batch_size=3).map([2, 3, 4]))
    replayed = rerun(simulation.dump(0))
    assert [item.name for item in replayed.items] == ["half[0]", "half[1]", "half[2]"]
    assert [item.value for item in replayed.items] == [1, None, 2]
    assert replayed.items[1].error is not None and not replayed.ok


@task
def push(values: list[int], *_: int, step: int = 1) -> int:
    values.append(step)
    return len(values)


def test_arguments_that_change_while_it_runs_are_named(tmp_path: Path) -> None:
    simulation = Saving(tmp_path)
    simulation.compute(push([1, 2]), push.map([[1], [2], [3]]))
    changed = "push has changed its argument 'values' in place, at"
    assert rerun(simulation.dump(0)).changed == [f"{changed} [2]"]
    assert rerun(simulation.dump(1)).changed == [f"{changed} [1]"]


def test_each_output_has_its_value(tmp_path: Path) -> None:
    simulation = Saving(tmp_path)
    tens, ones = split(42)
    simulation.compute(tens, ones)
    replayed = rerun(simulation.dump(0))
    assert [(i.name, i.value) for i in replayed.items] == [
        ("split output 0", 4),
        ("split output 1", 2),
    ]


def test_child_tasks_are_counted_and_not_run(tmp_path: Path) -> None:
    simulation = Saving(tmp_path, inline=0.0)
    assert simulation.value(countdown(3)) == 0
    replayed = rerun(simulation.dump(0))
    assert replayed.ok and replayed.children == 1 and not replayed.items


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    simulation = Saving(tmp_path)
    simulation.value(apart(double(4)))
    dump = simulation.dump(1)
    (needed,) = dump.request.data_dependencies
    dump.data(needed).unlink()
    with pytest.raises(ReplayError, match=f"no file '{needed}', which is an input of task"):
        read_dump(dump.folder)
    dump.data("payload").write_bytes(b"of another program")
    with pytest.raises(ReplayError, match="none of armoflow's"):
        rerun(dump)


def test_what_was_never_saved_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="cannot be read: No such file"):
        read_dump(tmp_path)
    (tmp_path / FILE).write_text("[]")
    with pytest.raises(ReplayError, match="not the JSON of a task"):
        read_dump(tmp_path)
    request = ProcessRequest(task_id="task", payload_id="../../etc/passwd")
    (tmp_path / FILE).write_text(MessageToJson(request))
    with pytest.raises(ReplayError, match="cannot be run again"):
        read_dump(tmp_path)


def test_data_may_be_in_another_folder(tmp_path: Path) -> None:
    simulation = Saving(tmp_path)
    simulation.value(double(1))
    data = tmp_path / "data"
    data.mkdir()
    (simulation.saved[0] / "payload").rename(data / "payload")
    replayed = rerun(read_dump(simulation.saved[0] / FILE, data))
    assert [item.value for item in replayed.items] == [2]


def test_the_debugger_opens_where_the_code_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    simulation = Saving(tmp_path)
    simulation.compute(half(3), double(1))
    monkeypatch.setattr("sys.stdin", io.StringIO("p number + 100\nq\n"))
    monkeypatch.setattr(program, "rerun", lambda dump, **_: rerun(dump))
    assert program.main([str(simulation.saved[0]), "--pdb"]) == program.EXIT_FAILED
    assert "103" in capsys.readouterr().out
    assert program.main([str(simulation.saved[1]), "--pdb"]) == 0
    assert "nothing to debug" in capsys.readouterr().out
    assert program.main([str(simulation.saved[1]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"][0]["value"] == "2"
