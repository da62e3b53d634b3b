"""A worker written with ArmoniK's own library, which does what its payload says."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

from armonik.common import Output, TaskDefinition, TaskOptions
from armonik.protogen.common.agent_common_pb2 import DataRequest
from armonik.worker import TaskHandler
from armonik.worker.worker import ArmoniKWorkerWrapper


def process(handler: TaskHandler) -> Output:
    step, *arguments = json.loads(handler.payload)
    return STEPS[step](handler, *arguments)


def upper(handler: TaskHandler) -> Output:
    """Sends the upper case of what it depends on."""
    data = b" ".join(value for _, value in handler.data_dependencies.items())
    handler.send_results({key: data.upper() for key in handler.expected_results})
    return Output()


def large(handler: TaskHandler, size: int) -> Output:
    handler.send_results({key: bytes(size) for key in handler.expected_results})
    return Output()


def fail(handler: TaskHandler) -> Output:
    handler.create_results_metadata(["never seen"])
    return Output("it went wrong")


def crash(handler: TaskHandler) -> Output:
    raise RuntimeError("the worker's own defect")


def die_once(handler: TaskHandler, marker: str) -> Output:
    """Kills its own process the first time, then succeeds."""
    if not Path(marker).exists():
        Path(marker).touch()
        print("about to die", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return large(handler, 1)


def wait(handler: TaskHandler, marker: str, seconds: float) -> Output:
    Path(marker).touch()
    time.sleep(seconds)
    return large(handler, 1)


def nothing(handler: TaskHandler) -> Output:
    return Output()


def expand(handler: TaskHandler) -> Output:
    """The diagram of what an agent and a worker say: results, children, and the output handed on.

    The first child makes an intermediate result; the second turns it into this task's own output.
    """
    payloads = handler.create_results(
        {"child": json.dumps(["large", 70_000]).encode(), "last": json.dumps(["upper"]).encode()}
    )
    created = handler.create_results_metadata(["intermediate", "text"])
    intermediate, text = created["intermediate"].result_id, created["text"].result_id
    handler.send_results({text: b"handed on"})
    children = handler.submit_tasks(
        [
            TaskDefinition(payloads["child"].result_id, [intermediate]),
            TaskDefinition(
                payloads["last"].result_id, handler.expected_results, [text, intermediate]
            ),
        ]
    )
    assert len({child.id for child in children}) == 2
    return Output()


def expand_in_a_stream(handler: TaskHandler, size: int) -> Output:
    """Hands the output on to a child, as workers did before SubmitTasks; then a big message."""
    from armonik.protogen.common.agent_common_pb2 import CreateTaskRequest
    from armonik.protogen.common.objects_pb2 import DataChunk, InitTaskRequest, TaskRequestHeader

    header = TaskRequestHeader(expected_output_keys=handler.expected_results)
    payload = json.dumps(["large", 3]).encode()
    parts: list[dict[str, object]] = [
        {"init_request": CreateTaskRequest.InitRequest()},
        {"init_task": InitTaskRequest(header=header)},
        {"task_payload": DataChunk(data=payload[:5])},
        {"task_payload": DataChunk(data=payload[5:])},
        {"task_payload": DataChunk(data_complete=True)},
        {"init_task": InitTaskRequest(last_task=True)},
    ]
    reply = handler._client.CreateTask(
        CreateTaskRequest(communication_token=handler.token, **part) for part in parts
    )
    assert len(reply.creation_status_list.creation_statuses) == 1
    handler.create_results({"big": bytes(size)})
    return Output()


def resource(handler: TaskHandler, result_id: str) -> Output:
    """Sends what it asked its agent for."""
    data = handler.get_resource_data(result_id)
    handler.send_results(dict.fromkeys(handler.expected_results, data))
    return Output()


def misuse(handler: TaskHandler) -> Output:
    """Sends the codes of calls that the agent refuses."""
    import grpc

    def code(call: object, request: object) -> str:
        try:
            call(request)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    agent = handler._client
    good = handler.token
    codes = [
        code(agent.GetResourceData, DataRequest(result_id="none", communication_token=token))
        for token in ("", "wrong", good)
    ]
    codes.append(code(agent.GetCommonData, DataRequest(communication_token=good)))
    try:
        handler.submit_tasks(
            [TaskDefinition(handler.payload_id, ["none"])],
            TaskOptions(timedelta(seconds=1), priority=1, max_retries=1, partition_id="none"),
        )
    except grpc.RpcError as error:
        codes.append(error.code().name)
    handler.send_results({key: json.dumps(codes).encode() for key in handler.expected_results})
    return Output()


STEPS = {
    function.__name__: function
    for function in (
        upper,
        large,
        fail,
        crash,
        die_once,
        wait,
        nothing,
        expand,
        expand_in_a_stream,
        resource,
        misuse,
    )
}

if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout)
    ArmoniKWorkerWrapper(processor=process, logger=logging.getLogger("worker")).run()
