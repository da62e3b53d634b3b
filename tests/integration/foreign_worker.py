"""A worker of ArmoniK that is not armoflow's: it does with any payload what its argument says."""

from __future__ import annotations

import logging
import sys

from armonik.common import Output
from armonik.worker import TaskHandler
from armonik.worker.worker import ArmoniKWorkerWrapper


def process(handler: TaskHandler) -> Output:
    answers = {
        "upper": handler.payload.upper(),  # b"AFLW..."
        "older": handler.payload[:4] + b"\0" + handler.payload[5:],
        "fail": None,
    }
    answer = answers[sys.argv[1]]
    if answer is None:
        return Output("Unable to find the library MyCompany.Grid.dll")
    handler.send_results(dict.fromkeys(handler.expected_results, answer))
    return Output()


if __name__ == "__main__":
    ArmoniKWorkerWrapper(processor=process, logger=logging.getLogger("worker")).run()
