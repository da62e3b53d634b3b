"""What one task was given, in a folder: the request of its worker as JSON, and data in files.

The form is that of ArmoniK's TaskDumper and TaskReRunner (``src/TaskDumper/Program.cs`` in
github.com/aneoconsulting/ArmoniK.TaskReRunner): a ``ProcessRequest`` in protobuf's JSON, and in the
data folder the payload and the dependencies, named by their result ids. The constants and the code
that a payload of armoflow's names are files beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from armonik.common import Task
from armonik.protogen.common.results_common_pb2 import (
    DownloadResultDataRequest,
    DownloadResultDataResponse,
)
from armonik.protogen.common.worker_common_pb2 import ProcessRequest
from google.protobuf.json_format import MessageToJson, Parse, ParseError

from armoflow.codec.task_needs import constants_of
from armoflow.errors import MalformedError, ReplayError
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.shapes import check_id

FILE: Final = "task.json"
"""The request, in a folder that was saved."""

_CHUNK: Final = 84_000
"""Bytes of a message that stock agents ask their workers to keep to."""

_DOWNLOAD: Final = "/armonik.api.grpc.v1.results.Results/DownloadResultData"


class TaskDump(NamedTuple):
    """What a task was given.

    Attributes:
        request: What its worker was told.
        folder: Where the data is, in files named by result ids.
    """

    request: ProcessRequest
    folder: Path

    def data(self, result_id: str) -> Path:
        """The file of a result; it need not be there.

        Raises:
            ReplayError: If the id cannot be a file's name.
        """
        try:
            check_id(result_id, "the id of a result")
        except MalformedError as error:
            raise ReplayError(
                f"task {self.request.task_id} cannot be run again: {error}"
            ) from error
        return self.folder / result_id


def save_dump(inspection: Inspection, task: Task, folder: Path) -> TaskDump:
    """Fetch what a task was given and write it to a folder, which is made.

    Raises:
        ReplayError: If some of it is not stored any more, or the folder cannot be written.
        EngineError: If the engine refuses it.
    """
    _check_stored(inspection, task)
    options = task.options
    request = ProcessRequest(
        session_id=task.session_id,
        task_id=task.id,
        task_options=None if options is None else options.to_message(),
        data_dependencies=task.data_dependencies,
        expected_output_keys=task.expected_output_ids,
        payload_id=task.payload_id,
        configuration={"data_chunk_max_size": _CHUNK},
    )
    dump = TaskDump(request, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(f"{MessageToJson(request)}\n", "utf-8")
        _download(inspection, dump, [task.payload_id, *task.data_dependencies])
        constants = constants_of(dump.data(task.payload_id).read_bytes(), task.expected_output_ids)
        _download(inspection, dump, constants)
    except OSError as error:
        raise ReplayError(f"the folder {folder} cannot be written: {error.strerror}") from error
    return dump


def read_dump(path: Path, data: Path | None = None) -> TaskDump:
    """Read what was saved, here or by ArmoniK's TaskDumper.

    Args:
        path: The folder, or the file with the request.
        data: The folder with the data, where that is another one.

    Raises:
        ReplayError: If it is no such thing, or data is missing.
    """
    file = path / FILE if path.is_dir() else path
    try:
        request = Parse(file.read_text("utf-8"), ProcessRequest(), ignore_unknown_fields=True)
        if not (request.task_id and request.payload_id):
            raise ParseError("it names no task and no payload")
    except OSError as error:
        raise ReplayError(f"{file} cannot be read: {error.strerror}") from error
    except (ParseError, UnicodeDecodeError) as error:
        raise ReplayError(
            f"{file} is not the JSON of a task that was saved: {error}; "
            "save one with `armoflow replay TASK --save FOLDER`"
        ) from error
    dump = TaskDump(request, file.parent if data is None else data)
    needed = [request.payload_id, *request.data_dependencies]
    missing = [each for each in needed if not dump.data(each).is_file()]
    if missing:
        raise ReplayError(
            f"{dump.folder} has no file {missing[0]!r}, which is "
            f"{_role(missing[0], request.payload_id)} of task {request.task_id}; "
            "name the folder with the data by --data"
        )
    return dump


def _check_stored(inspection: Inspection, task: Task) -> None:
    needed = [task.payload_id, *task.data_dependencies]
    found = inspection.results(needed)
    missing = [each for each in needed if each not in found or not found[each].stored]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ReplayError(
            f"task {task.id} cannot be run again: the data of {missing[0]}, "
            f"{_role(missing[0], task.payload_id)}{more}, is not stored any more. What tasks that "
            "failed were given stays until the session is purged (`armoflow up --retention`); of "
            "others it is deleted once nothing needs it, unless tasks have `keep=True`. Clusters "
            "with `Submitter__DeletePayload` delete the payloads of failed tasks, too"
        )


def _role(result_id: str, payload_id: str) -> str:
    return "the payload" if result_id == payload_id else "an input"


def _download(inspection: Inspection, dump: TaskDump, result_ids: Iterable[str]) -> None:
    for result_id in result_ids:
        request = DownloadResultDataRequest(
            session_id=dump.request.session_id, result_id=result_id
        ).SerializeToString()
        with dump.data(result_id).open("wb") as file:
            for message in inspection.stream(_DOWNLOAD, request, f"downloading {result_id}"):
                file.write(DownloadResultDataResponse.FromString(message).data_chunk)
