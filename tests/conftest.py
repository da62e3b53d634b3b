"""Settings for the whole test-suite, and engines for tests that run whole programs."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from _pytest.doctest import DoctestModule
from _pytest.faulthandler import fault_handler_stderr_fd_key
from hypothesis import HealthCheck, settings

from armoflow.protocol.resolve import VARIABLES
from tests.integration.engines import Up, up
from tests.processes import running

# A cluster that the shell names is not for tests: they start engines of their own.
for _variable in VARIABLES:
    os.environ.pop(_variable, None)

# Hundreds of processes start here: compiled anew, what they import would take most of their time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell starts what it leaves in the background deaf to Ctrl-C, nohup deaf to hang-ups, and what
# these start is so, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Nothing here is timed: on a busy machine an example may be slow without being wrong.
# The same examples each time, so that a change is what makes a test fail; others, and forty times
# as many, with "thorough", which `make properties` takes.
settings.register_profile(
    "default",
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize=True,
)
settings.register_profile(
    "thorough", settings.get_profile("default"), max_examples=2000, derandomize=False
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


collect_ignore = ["weightless"]

# Nothing of what is collected is garbage.
gc.disable()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path,
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Examples are not looked for among tests, but in what helps them: each worker would look."""
    found = yield
    if not file_path.name.startswith("test_"):
        return found
    return [collector for collector in found if not isinstance(collector, DoctestModule)]


SLOW = ("tests/realistic/", "tests/network/", "tests/deploy/", "tests/faults/", "tests/campaign/")
"""What takes longest, or waits most: it comes first, so that nothing of it is left at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the slowest tests come first."""
    items.sort(key=lambda item: not item.nodeid.startswith(SLOW))


def pytest_collection_finish() -> None:
    """Leave what was collected, which stays till the end, out of all collections of garbage.

    Of tests that run in this process a fifth of the time went into looking at it again and again.
    """
    gc.enable()
    gc.collect()
    gc.freeze()


GRACE = 60.0
"""Seconds past its time limit after which a test counts as stuck."""

TEARDOWN_SECONDS = 120.0


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End the process of a test that no signal interrupts: the others go on in a new one.

    Every thread's stack is written before.
    """
    limit = _time_limit(item)
    if limit:
        _end_later(item, limit + GRACE)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """The same of one that is not taken down.

    A test that failed has no time limit left: pytest and its plugins drop theirs for a debugger.
    """
    if _time_limit(item):
        _end_later(item, TEARDOWN_SECONDS)
    return (yield)


def _time_limit(item: pytest.Item) -> float:
    """That of ``pytest-timeout``; 0: there is none."""
    marker, given = item.get_closest_marker("timeout"), item.config.getoption("timeout")
    if item.config.getoption("usepdb"):
        return 0.0
    if marker is not None and given is None:
        return float(marker.args[0])
    return float(item.config.getini("timeout") if given is None else given)


def _end_later(item: pytest.Item, seconds: float) -> None:
    stderr = item.config.stash.get(fault_handler_stderr_fd_key, None)
    if stderr is not None:
        faulthandler.dump_traceback_later(seconds, file=stderr, exit=True)


@pytest.fixture(scope="session", autouse=True)
def _light_children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Processes that are started from here, and import test modules, do so without pytest.

    A fixture, since only now no further process is started that is to run tests.
    """
    paths = [str(Path(__file__).parent / "weightless"), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        # What tasks need is installed there, and what is cached or named is noted there, and not
        # where the user keeps it.
        patch.setenv("ARMOFLOW_ENVIRONMENTS", str(tmp_path_factory.mktemp("environments")))
        patch.setenv("ARMOFLOW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _keep_test_modules() -> Iterator[None]:
    """A worker's runner in this process replaces the user's modules, which these are, by its own.

    The tests that come after would find classes that are not theirs.
    """
    before = {name: sys.modules[name] for name in list(sys.modules) if name.startswith("tests")}
    yield
    for name, module in before.items():
        if sys.modules.get(name) is not module:
            sys.modules[name] = module
            parent, _, child = name.rpartition(".")
            if parent in before:
                setattr(before[parent], child, module)


@pytest.fixture(scope="session")
def start_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Starts ``armoflow up`` with the arguments given, and gives its endpoint.

    Arguments that were given before get the engine that runs already.
    """
    endpoints: dict[tuple[str, ...], str] = {}
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> str:
            if arguments not in endpoints:
                state = tmp_path_factory.mktemp("engine") / "state"
                endpoints[arguments] = stack.enter_context(running_engine(state, *arguments))
            return endpoints[arguments]

        yield start


@pytest.fixture(scope="session")
def engine_with(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Up]]:
    """The engine with these arguments that tests share: to start one costs more than most tests.

    Whoever ends it, lists what others have left or counts what it does starts one with ``up``.
    """
    engines: dict[tuple[str, ...], Up] = {}
    with contextlib.ExitStack() as stack:

        def started(*arguments: str) -> Up:
            if arguments not in engines:
                directory = tmp_path_factory.mktemp("shared")
                engines[arguments] = stack.enter_context(up(directory, *arguments))
            return engines[arguments]

        yield started


class SmallDisk:
    """A file system of its own, which can be filled."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._filler = root / "filler"

    def fill(self) -> None:
        """Leave no byte free."""
        with contextlib.suppress(OSError), self._filler.open("ab", 0) as file:
            while file.write(bytes(2**16)):
                pass
        with contextlib.suppress(OSError), self._filler.open("ab", 0) as file:
            while file.write(b"x"):
                pass

    def take_all_inodes(self) -> None:
        """Leave no room for one more file."""
        with contextlib.suppress(OSError):
            for number in itertools.count():
                (self.root / f"filler-{number}").touch()

    @contextlib.contextmanager
    def read_only(self, folder: str = "") -> Iterator[Path]:
        """All of it, or a folder of it, may only be read meanwhile, but for what is open."""
        place = self.root / folder
        commands = [["mount", "--bind"], ["mount", "-o", "remount,ro,bind"]]
        for number, command in enumerate(commands):
            arguments = [str(place)] * (2 - number)
            subprocess.run([*command, *arguments], capture_output=True, check=True)
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)

    def make_room(self) -> None:
        """Remove what fills it."""
        for file in self.root.glob("filler*"):
            file.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 8 MiB and 200 files; where none can be mounted the test is skipped."""
    root = tmp_path / "disk"
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=200,mode=0700", "tmpfs", str(root)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(root)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


@contextlib.contextmanager
def running_engine(state: Path, *arguments: str) -> Iterator[str]:
    """An engine in a process of its own, as a user starts it, on a free port."""
    command = [sys.executable, "-m", "armoflow.cli.main", "up", "--listen", "127.0.0.1:0"]
    command += ["--workers", "2", "--state", str(state), "--log-level", "warning", *arguments]
    with running(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("ready: "), "the engine ended before it was ready"
            yield line.removeprefix("ready: ").strip()
        finally:
            process.terminate()
            process.wait(timeout=60)
