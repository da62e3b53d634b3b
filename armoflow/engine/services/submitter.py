"""The Submitter service, which the other services have replaced: calls are told so."""

from __future__ import annotations

from typing import Any, Final

import grpc

SERVICE: Final = "/armonik.api.grpc.v1.submitter.Submitter/"

_INSTEAD: Final = {
    "CreateSession": "Sessions/CreateSession",
    "CancelSession": "Sessions/CancelSession",
    "ListSessions": "Sessions/ListSessions",
    "CreateSmallTasks": "Results/CreateResults and Tasks/SubmitTasks",
    "CreateLargeTasks": "Results/UploadResultData and Tasks/SubmitTasks",
    "ListTasks": "Tasks/ListTasks",
    "CountTasks": "Tasks/CountTasksByStatus",
    "CancelTasks": "Tasks/CancelTasks",
    "GetTaskStatus": "Tasks/ListTasks",
    "TryGetTaskOutput": "Tasks/GetTask",
    "GetResultStatus": "Results/ListResults",
    "TryGetResultStream": "Results/DownloadResultData",
    "WaitForAvailability": "Events/GetEvents",
    "WaitForCompletion": "Events/GetEvents",
    "WatchResults": "Events/GetEvents",
    "GetServiceConfiguration": "Results/GetServiceConfiguration",
}


class SubmitterNotice(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers the calls of the Submitter service with what to use instead."""

    def service(self, handler_call_details: Any) -> Any:
        """Called by gRPC for every call that no other handler serves."""
        method = handler_call_details.method
        if not method.startswith(SERVICE):
            return None
        name = method.removeprefix(SERVICE)

        async def refuse(requests: Any, context: Any) -> None:
            text = f"Submitter/{name} is not served: use {_INSTEAD.get(name, 'the other services')}"
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)

        return grpc.stream_stream_rpc_method_handler(refuse)
