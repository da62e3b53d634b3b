"""Tasks that write, in all the ways in which something can be written."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any


def speak() -> None:
    print("printed")
    logging.getLogger("mine").warning("logged")
    warnings.warn("warned", stacklevel=1)
    subprocess.run(["echo", "child"], check=True)
    os.write(1, b"raw\n")
    print("no end", end="")


def count(number: int) -> int:
    if number % 2:
        print(number)
    elif number == 4:
        subprocess.run(["echo", str(number)], check=True)
    return number


def write_slowly(path: str) -> None:
    script = f"echo begun; while [ ! -e {path} ]; do sleep 0.01; done"
    subprocess.run(["sh", "-c", script], check=True)


def fail_loudly(number: int) -> None:
    for line in range(30):
        print("line", line)
    raise ValueError(number)


def fail_odd(number: int) -> int:
    print("at", number)
    if number % 2:
        raise ValueError(number)
    return number


def die(how: str) -> None:
    print("before the end")
    subprocess.run(["echo", "and of a child"], check=True)
    if how == "abort":
        ctypes.string_at(0)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(3)
    time.sleep(60)


def garble(kind: str) -> None:
    out: Any = sys.stdout
    time.sleep(0.002)  # what stands behind the streams is looked at once in a millisecond
    if kind == "binary":
        os.write(1, bytes(range(256)) * 100)
    elif kind == "endless":
        for _ in range(100):
            os.write(1, b"x" * 100_000)
    elif kind == "closed":
        os.close(1)
        os.close(2)
    elif kind == "stream":
        out.close()
    elif kind == "replaced":
        sys.stdout = None  # type: ignore[assignment]
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    elif kind == "redirected":
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        print("into nowhere")
    elif kind == "marks":
        mark = Path("/proc/self/cmdline").read_bytes().split(b"\0")[-2]
        os.write(1, b"\x1e" + mark + b"+no end" + b"\x1e" + mark + b"-xx\n")
    elif kind == "daemon":
        subprocess.Popen(["sleep", "30"])


def leave_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(60,), name="left", daemon=True).start()
