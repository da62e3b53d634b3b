"""How much an engine takes: tasks, data, sessions, clients, readers that stop reading.

    python -m benchmarks.limits                       # all parts, one after the other
    python -m benchmarks.limits tasks data            # or some: tasks data sessions clients readers
    python -m benchmarks.limits tasks --tasks 100000
    python -m benchmarks.limits data --gib 1          # where the disk is smaller

Each part has an engine of its own (``armoflow up`` on a Unix socket), asked by the standard
services, but for the clients, which are armoflow's. A row says what was asked for, what is
promised, what was found, and how much there is to spare. Memory is what the engine's process has in
memory (RSS); times are medians of some calls.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import grpc
import psutil
from armonik.protogen.client.events_service_pb2_grpc import EventsStub
from armonik.protogen.client.results_service_pb2_grpc import ResultsStub
from armonik.protogen.client.sessions_service_pb2_grpc import SessionsStub
from armonik.protogen.client.tasks_service_pb2_grpc import TasksStub
from armonik.protogen.common import (
    events_common_pb2,
    objects_pb2,
    results_common_pb2,
    sessions_common_pb2,
    tasks_common_pb2,
)
from google.protobuf import json_format

from armoflow import Client, task
from armoflow.config import MIB

MB = 1e6
GIB = 1024 * MIB
CHUNK = 2 * MIB
AT_ONCE = 5_000
"""Results or tasks in one call."""

MEMORY = 1_500.0
"""Megabytes that an engine may have with a million tasks."""

RESTART = 20.0
"""Seconds of CPU time until an engine with a million tasks is ready."""

PAGE = 200.0
"""Milliseconds that a page of a list may take."""

HELD = 50.0
"""Milliseconds that another client's call may take meanwhile."""

CONSTANT = 100.0
"""Megabytes that large data, or readers that do not read, may add."""

READER = 16.0
"""Megabytes for one that reads neither its events nor its download."""

PAUSE = 0.05
SETTLE = 2.0
"""Seconds after which an engine has given back what it does not need."""

ROOT = Path(__file__).parent.parent


class Engine:
    """``armoflow up``, and calls to it."""

    def __init__(self, target: str, process: psutil.Process) -> None:
        self.target = target
        self._process = process
        self.channel = self.connect()
        self.sessions = SessionsStub(self.channel)
        self.results = ResultsStub(self.channel)
        self.tasks = TasksStub(self.channel)

    def connect(self) -> grpc.Channel:
        """A connection of its own."""
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
        return grpc.insecure_channel(self.target, options=options)

    @property
    def megabytes(self) -> float:
        """Memory of its process."""
        return float(self._process.memory_info().rss) / MB

    @property
    def most_megabytes(self) -> float:
        """The most that it had."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        (most,) = re.findall(r"VmHWM:\s*(\d+) kB", status)
        return int(most) * 1024 / MB

    @property
    def seconds(self) -> float:
        """CPU time of its process."""
        used = self._process.cpu_times()
        return float(used.user + used.system)

    def create_session(self) -> str:
        """A session for tasks of an hour."""
        options = objects_pb2.TaskOptions(max_retries=2, priority=1)
        options.max_duration.seconds = 3600
        request = sessions_common_pb2.CreateSessionRequest(default_task_option=options)
        return str(self.sessions.CreateSession(request).session_id)

    def create_results(self, session_id: str, count: int) -> list[str]:
        """Results without data."""
        request = results_common_pb2.CreateResultsMetaDataRequest(session_id=session_id)
        request.results.extend([request.ResultCreate(name="output")] * count)
        return [result.result_id for result in self.results.CreateResultsMetaData(request).results]


@contextlib.contextmanager
def serve(*options: str) -> Iterator[Engine]:
    """An engine of its own; in a directory that has room."""
    with (
        tempfile.TemporaryDirectory(prefix="armoflow-limits-") as directory,
        serve_at(directory, *options) as engine,
    ):
        yield engine


@contextlib.contextmanager
def serve_at(directory: str, *options: str) -> Iterator[Engine]:
    """An engine with what is in a directory."""
    target = f"unix:{directory}/engine.sock"
    command = [sys.executable, "-m", "armoflow", "up", "--listen", target]
    command += ["--state", f"{directory}/state", "--log-level", "error", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            engine = Engine(target, psutil.Process(process.pid))
            yield engine
            engine.channel.close()
        finally:
            process.terminate()


def tell(what: str, target: float, found: float, unit: str) -> None:
    """A row of the table; the margin is how much less than the target was found."""
    margin = f"{1 - found / target:.0%}"
    print(f"| {what} | {target:,.0f} {unit} | {found:,.1f} {unit} | {margin} |", flush=True)


def median_time(call: Callable[[], object], times: int = 3) -> float:
    """Milliseconds of a call."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(taken)


# --- tasks ----------------------------------------------------------------------------------------


def measure_tasks(arguments: argparse.Namespace) -> None:
    """Many queued tasks in one session, each with a payload and an output, and lists of them."""
    with tempfile.TemporaryDirectory(prefix="armoflow-limits-") as directory:
        with serve_at(directory, "--workers", "0") as engine:
            _measure_queued(engine, arguments)
        with serve_at(directory, "--workers", "0") as engine:
            tell(
                "an engine that starts with them, most memory", MEMORY, engine.most_megabytes, "MB"
            )
            tell("the same, CPU time until it is ready", RESTART, engine.seconds, "s")


def _measure_queued(engine: Engine, arguments: argparse.Namespace) -> None:
    session_id = engine.create_session()
    for _ in range(0, arguments.tasks, AT_ONCE):
        submit(engine, session_id, AT_ONCE)
    tell(f"{arguments.tasks:,} queued tasks, memory", MEMORY, engine.megabytes, "MB")
    ways: dict[str, list[tuple[float, float, str]]] = {}
    with beside(engine) as waits:
        for what, method, requests in lists(session_id, arguments.tasks):
            call = getattr(engine.tasks if "Tasks" in method else engine.results, method)
            first, usual = zip(*(first_and_median(call, each) for each in requests), strict=True)
            row = f"{method}: {what} (the first time {max(first):,.0f} ms)"
            tell(row, PAGE, max(usual), "ms")
            kind = "all" if what.startswith("all") else "filtered"
            ways.setdefault(f"{method}, {kind}", []).append((max(usual), max(first), what))
    for method, taken in ways.items():
        slowest, _, what = max(taken)
        tell(f"{method}: {len(taken)} ways, the slowest ({what})", PAGE, slowest, "ms")
        first_time, what = max((first, what) for _, first, what in taken)
        tell(f"{method}: the same, the first time ({what})", PAGE, first_time, "ms")
    _measure_neighbours(engine, session_id, arguments)
    tell("the longest call to create a result meanwhile", HELD, 1e3 * max(waits), "ms")
    tell("the same, after all lists, memory", MEMORY, engine.megabytes, "MB")


def _measure_neighbours(engine: Engine, session_id: str, arguments: argparse.Namespace) -> None:
    """Going from page to page while nothing is written, as who looks at what has ended does."""
    first, next_ones = [], []
    for what, method, requests in lists(session_id, arguments.tasks):
        if method != "ListResults" or not what.startswith("all"):
            continue
        request = requests[0]
        first.append(median_time(functools.partial(engine.results.ListResults, request), 1))
        for page in range(1, 5):
            request.page = page
            next_ones.append(median_time(functools.partial(engine.results.ListResults, request), 1))
    what = "ListResults, all, while nothing is written"
    tell(f"{what}: the slowest first page", PAGE, max(first), "ms")
    tell(f"{what}: the slowest of the four after it", PAGE, max(next_ones), "ms")


def submit(engine: Engine, session_id: str, count: int) -> None:
    """Tasks with small payloads."""
    create = results_common_pb2.CreateResultsRequest(session_id=session_id)
    create.results.extend([create.ResultCreate(name="payload", data=b"x" * 30)] * count)
    payloads = [result.result_id for result in engine.results.CreateResults(create).results]
    outputs = engine.create_results(session_id, count)
    request = tasks_common_pb2.SubmitTasksRequest(session_id=session_id)
    for payload, output in zip(payloads, outputs, strict=True):
        request.task_creations.add(payload_id=payload, expected_output_keys=[output])
    engine.tasks.SubmitTasks(request)


@contextlib.contextmanager
def beside(engine: Engine) -> Iterator[list[float]]:
    """Another client's calls, one after the other; the seconds that each took."""
    waits: list[float] = []
    done = threading.Event()

    def call() -> None:
        session_id = engine.create_session()
        while not done.wait(PAUSE):
            begin = time.perf_counter()
            engine.create_results(session_id, 1)
            waits.append(time.perf_counter() - begin)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield waits
    finally:
        done.set()
        thread.join()


OFTEN = ("CREATED_AT", "ID", "STATUS")
TASK_SORTS = (
    *("SUBMITTED_AT", "STARTED_AT", "ENDED_AT", "SESSION_ID", "PAYLOAD_ID", "INITIAL_TASK_ID"),
    *("OWNER_POD_ID", "POD_HOSTNAME", "ERROR", "CREATION_TO_END_DURATION"),
    *("PROCESSING_TO_END_DURATION", "options PRIORITY", "options PARTITION_ID"),
    *("options APPLICATION_NAME", "option name"),
)
RESULT_SORTS = ("NAME", "SIZE", "COMPLETED_AT", "OWNER_TASK_ID", "SESSION_ID", "CREATED_BY")
"""The columns that pages are sorted by."""


class Table:
    """A table of a web interface: its columns, in the JSON form of the API."""

    def __init__(self, method: str, kind: Any, choice: str, enum: str, own_id: str) -> None:
        self.method = method
        self.kind = kind
        self._choice = choice
        self._enum = enum
        self._own_id = own_id

    def field(self, name: str) -> Any:
        """A column."""
        where, _, option = name.partition(" ")
        if where == "options":
            return {"taskOptionField": {"field": f"TASK_OPTION_ENUM_FIELD_{option}"}}
        if where == "option":
            return {"taskOptionGenericField": {"field": option}}
        name = self._own_id if name == "ID" else name
        return {self._choice: {"field": f"{self._enum}_{name}"}}

    def test(self, name: str, kind: str, value: Any, operator: int = 0) -> Any:
        """A condition on a column."""
        return {"field": self.field(name), f"filter{kind}": {"value": value, "operator": operator}}

    def request(self, tests: list[Any], sort: str, direction: int, page: int) -> Any:
        """A page of a hundred."""
        request = {
            "page": page,
            "pageSize": 100,
            "sort": {"field": self.field(sort), "direction": direction},
            "filters": {"or": [{"and": tests}]} if tests else {},
        }
        return json_format.ParseDict(request, self.kind())


def lists(session_id: str, count: int) -> Iterator[tuple[str, str, list[Any]]]:
    """What a web interface asks for: the first and the last page of all, up and down."""
    tasks = Table(
        "ListTasks",
        tasks_common_pb2.ListTasksRequest,
        *("taskSummaryField", "TASK_SUMMARY_ENUM_FIELD", "TASK_ID"),
    )
    results = Table(
        "ListResults",
        results_common_pb2.ListResultsRequest,
        *("resultRawField", "RESULT_RAW_ENUM_FIELD", "RESULT_ID"),
    )
    long_ago = "2020-01-01T00:00:00Z"
    for table, sorts, rows in ((tasks, TASK_SORTS, count), (results, RESULT_SORTS, 2 * count)):
        of_session = table.test("SESSION_ID", "String", session_id)
        shown = {
            "all": [],
            "of the session": [of_session],
            "of the session and a status": [of_session, table.test("STATUS", "Status", 1)],
            "of a rare status": [table.test("STATUS", "Status", 3)],
            "since a date": [table.test("CREATED_AT", "Date", long_ago, 4)],
        }
        if table is tasks:
            shown["of the session and a status"][1] = table.test("STATUS", "Status", 2)
            shown["of a partition"] = [table.test("options PARTITION_ID", "String", "default")]
            shown["of applications"] = [table.test("options APPLICATION_NAME", "String", "x", 2)]
            shown["with an option"] = [table.test("option name", "String", "x")]
        else:
            shown["of a name"] = [table.test("NAME", "String", "output")]
        for what, tests in shown.items():
            for sort in (*OFTEN, *sorts) if len(tests) < 2 and what[0] in "ao" else OFTEN:
                ways = product((1, 2), (0, rows // 100 - 1))
                yield (
                    f"{what}, by {sort}",
                    table.method,
                    [table.request(tests, sort, *w) for w in ways],
                )
    for what, tests in (("all", []), ("of a rare status", [tasks.test("STATUS", "Status", 3)])):
        counted = {"filters": {"or": [{"and": tests}]} if tests else {}}
        kind = tasks_common_pb2.CountTasksByStatusRequest
        yield what, "CountTasksByStatus", [json_format.ParseDict(counted, kind())]


def first_and_median(call: Callable[[Any], Any], request: Any) -> tuple[float, float]:
    """Milliseconds of a call, the first time and later on."""
    return median_time(lambda: call(request), 1), median_time(lambda: call(request))


# --- data -----------------------------------------------------------------------------------------


def measure_data(arguments: argparse.Namespace) -> None:
    """One large result, up and down, in chunks."""
    with serve("--workers", "0") as engine:
        session_id = engine.create_session()
        (result_id,) = engine.create_results(session_id, 1)
        before = engine.megabytes
        size = int(arguments.gib * GIB)
        with Highest(engine) as highest:
            _upload(engine, session_id, result_id, size)
        tell(f"{arguments.gib:g} GiB up, memory more", CONSTANT, highest.megabytes - before, "MB")
        request = results_common_pb2.DownloadResultDataRequest(
            session_id=session_id, result_id=result_id
        )
        with Highest(engine) as highest:
            replies = engine.results.DownloadResultData(request)
            received = sum(len(reply.data_chunk) for reply in replies)
        assert received == size
        tell(f"{arguments.gib:g} GiB down, memory more", CONSTANT, highest.megabytes - before, "MB")


def _upload(engine: Engine, session_id: str, result_id: str, size: int) -> None:
    part = results_common_pb2.UploadResultDataRequest

    def parts() -> Iterator[Any]:
        yield part(id=part.ResultIdentifier(session_id=session_id, result_id=result_id))
        chunk = part(data_chunk=bytes(CHUNK))
        for _ in range(size // CHUNK):
            yield chunk

    engine.results.UploadResultData(parts())


class Highest:
    """The most memory that an engine has while something is done."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.megabytes = 0.0

    def _look(self) -> None:
        while not self._done.wait(PAUSE):
            self.megabytes = max(self.megabytes, self._engine.megabytes)

    def __enter__(self) -> Highest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.megabytes = max(self.megabytes, self._engine.megabytes)


# --- sessions -------------------------------------------------------------------------------------


CREATION = {"sessionRawField": {"field": "SESSION_RAW_ENUM_FIELD_CREATED_AT"}}


def measure_sessions(arguments: argparse.Namespace) -> None:
    """Many sessions, each with a task, and what is left of them in the end."""
    with serve("--workers", "0") as engine:
        before = engine.megabytes
        ids = [engine.create_session() for _ in range(arguments.sessions)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda session_id: submit(engine, session_id, 1), ids))
        what = f"{arguments.sessions:,} sessions with a task"
        tell(f"{what}, memory more", CONSTANT, engine.megabytes - before, "MB")
        for page in (0, arguments.sessions // 100 - 1):
            request = json_format.ParseDict(
                {
                    "page": page,
                    "pageSize": 100,
                    "sort": {"field": CREATION, "direction": 2},
                    "filters": {},
                },
                sessions_common_pb2.ListSessionsRequest(),
            )
            found = median_time(functools.partial(engine.sessions.ListSessions, request))
            tell(f"ListSessions, by creation descending, page {page}", PAGE, found, "ms")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda session_id: _remove(engine, session_id), ids))
        request = sessions_common_pb2.ListSessionsRequest(page_size=1)
        assert engine.sessions.ListSessions(request).total == 0
        time.sleep(SETTLE)
        tell(f"{what}, and deleted, memory more", CONSTANT, engine.megabytes - before, "MB")


def _remove(engine: Engine, session_id: str) -> None:
    messages, stub = sessions_common_pb2, engine.sessions
    stub.CancelSession(messages.CancelSessionRequest(session_id=session_id))
    stub.PurgeSession(messages.PurgeSessionRequest(session_id=session_id))
    stub.DeleteSession(messages.DeleteSessionRequest(session_id=session_id))


# --- clients --------------------------------------------------------------------------------------


@task
def double(number: int) -> int:
    """What each client asks for."""
    return 2 * number


def measure_clients(arguments: argparse.Namespace) -> None:
    """Many clients at once, each with a connection of its own and a few calls."""
    count = arguments.clients
    with serve("--workers", "2") as engine, contextlib.ExitStack() as stack:
        before = engine.megabytes
        clients = [stack.enter_context(Client(engine.target)) for _ in range(count)]
        waits: list[float] = []

        def work(number: int) -> bool:
            right = True
            for turn in range(10):
                begin = time.perf_counter()
                right &= clients[number].compute(double(number + turn)) == 2 * (number + turn)
                waits.append(time.perf_counter() - begin)
            return right

        with ThreadPoolExecutor(count) as pool:
            answered = sum(pool.map(work, range(count)))
        assert answered == count, f"{count - answered} of {count} clients got a wrong value"
        tell(f"{count} clients at once, memory more", 4 * CONSTANT, engine.megabytes - before, "MB")
        median, longest = statistics.median(waits), max(waits)
        print(f"  {len(waits):,} calls: median {1e3 * median:.0f} ms, longest {longest:.2f} s")


# --- readers --------------------------------------------------------------------------------------


def measure_readers(arguments: argparse.Namespace) -> None:
    """Event streams and downloads that nobody reads, and what is left when their callers go."""
    count = arguments.readers
    own, left = _with_readers(0)  # what the engine has more of itself
    highest, after = _with_readers(count)
    what = f"{count} event streams and {count} downloads that nobody reads"
    tell(f"{what}, memory more", READER * count, highest - own, "MB")
    tell("the same, when their callers have gone, memory more", CONSTANT, after - left, "MB")


def _with_readers(count: int) -> tuple[float, float]:
    """Megabytes of an engine while much changes, and when those that do not read have gone."""
    with serve("--workers", "0") as engine:
        session_id = engine.create_session()
        (large,) = engine.create_results(session_id, 1)
        _upload(engine, session_id, large, 256 * MIB)
        channels = [engine.connect() for _ in range(count)]
        calls = [call for channel in channels for call in _read_nothing(channel, session_id, large)]
        with Highest(engine) as highest:
            _change(engine, session_id)
        for call in calls:
            call.cancel()
        for channel in channels:
            channel.close()
        time.sleep(SETTLE)
        return highest.megabytes, engine.megabytes


def _change(engine: Engine, session_id: str) -> None:
    """A hundred thousand events."""
    for _ in range(20):
        engine.create_results(session_id, AT_ONCE)


def _read_nothing(channel: grpc.Channel, session_id: str, result_id: str) -> Sequence[Any]:
    events = events_common_pb2.EventSubscriptionRequest(session_id=session_id)
    data = results_common_pb2.DownloadResultDataRequest(session_id=session_id, result_id=result_id)
    return [EventsStub(channel).GetEvents(events), ResultsStub(channel).DownloadResultData(data)]


PARTS = {
    "tasks": measure_tasks,
    "data": measure_data,
    "sessions": measure_sessions,
    "clients": measure_clients,
    "readers": measure_readers,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", choices=[[], *PARTS], metavar="PART", help="default: all"
    )
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--gib", type=float, default=4.0)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--readers", type=int, default=50)
    arguments = parser.parse_args()
    print("| what | promised | found | to spare |\n|---|---|---|---|", flush=True)
    for name in arguments.parts or PARTS:
        begin = time.perf_counter()
        PARTS[name](arguments)
        load = psutil.getloadavg()[0]
        print(f"  {name}: {time.perf_counter() - begin:.0f} s, load {load:.1f}", file=sys.stderr)


if __name__ == "__main__":
    main()
