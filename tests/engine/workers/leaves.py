"""A worker that takes its time to start, and ends by itself after each task.

``leaves.py NAME MARK``: it serves once the file MARK is there; its tasks give its NAME, the folder
where their data lies, and what lies there.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from armonik.common import Output
from armonik.protogen.worker.worker_service_pb2_grpc import add_WorkerServicer_to_server
from armonik.worker import ArmoniKWorker, ClefLogger, TaskHandler

name, mark = (*sys.argv[1:], "", "")[:2]
done = threading.Event()


def place(side: str) -> str:
    return "unix:" + os.environ[f"ComputePlane__{side}Channel__Address"]


def process(handler: TaskHandler) -> Output:
    folder = handler.data_folder
    print(f"{name} has a task", flush=True)
    found = ",".join([name, folder, *(path.name for path in Path(folder).iterdir())]).encode()
    size = int(handler.payload or b"0")
    handler.send_results({key: found.ljust(size) for key in handler.expected_results})
    done.set()
    return Output()


if __name__ == "__main__":
    print(f"{name} begins", flush=True)
    while not Path(mark).exists():
        time.sleep(0.01)  # it has no better way to learn of it
    server = grpc.server(ThreadPoolExecutor(1))
    agent = grpc.insecure_channel(
        place("Agent"),
        options=[("grpc.default_authority", "localhost")],
    )
    worker = ArmoniKWorker(agent, process, logger=ClefLogger("worker"))
    add_WorkerServicer_to_server(worker, server)
    server.add_insecure_port(place("Worker"))
    server.start()
    done.wait()
    server.stop(30).wait()  # no more calls are taken; the one that runs is answered
