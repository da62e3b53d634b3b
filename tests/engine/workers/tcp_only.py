"""A worker that takes ``http://host:port`` addresses only, as those in Java and C++ do."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlparse

import grpc
from armonik.protogen.worker.worker_service_pb2_grpc import add_WorkerServicer_to_server
from armonik.worker import ArmoniKWorker, ClefLogger
from steps import process


def place(side: str) -> str:
    address = os.environ[f"ComputePlane__{side}Channel__Address"]
    if os.environ[f"ComputePlane__{side}Channel__SocketType"] != "tcp":
        sys.exit(f"{address} is no address for this worker: it knows TCP only")
    return urlparse(address).netloc


if __name__ == "__main__":
    listening = place("Worker")
    server = grpc.server(ThreadPoolExecutor(1))
    agent = grpc.insecure_channel(place("Agent"))
    worker = ArmoniKWorker(agent, process, logger=ClefLogger("worker"))
    add_WorkerServicer_to_server(worker, server)
    server.add_insecure_port(listening)
    server.start()
    server.wait_for_termination()
