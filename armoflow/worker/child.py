"""The process that runs tasks: messages in, messages out (see ``armoflow.agent.lane_frames``).

The main thread reads its socket, runs tasks and sends completions, several at a time where tasks
are short. A second thread waits on the control socket: it gives back tasks that were not started,
and ends the process when the owner is gone. Nothing is imported here that is not needed to run a
task: a process is ready in the time that Python takes to start.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic_ns, time

from armoflow.agent import lane_frames
from armoflow.agent.effects import Effects
from armoflow.agent.passages import NOBODY, Writer
from armoflow.running import CurrentTask, answer_for_process
from armoflow.system.arrivals import arrive_in
from armoflow.system.devices import visible_devices
from armoflow.worker.child_channel import READ_BYTES, Inbox, Outbox, OwnerAgent, leave
from armoflow.worker.child_place import ChildPlace
from armoflow.worker.item_checkpoints import Checkpoints
from armoflow.worker.mark import Mark, MarkWriter
from armoflow.worker.naming import item_of, name_of
from armoflow.worker.output import Output
from armoflow.worker.process_state import ProcessState
from armoflow.worker.runner import EngineTask, Runner, TaskFailure
from armoflow.worker.script import Script
from armoflow.worker.task_progress import TaskPaused

_SCORE = 200
"""Of a thousand: as if it took that part of all memory more than it does."""


class Child:
    """The program.

    Args:
        channel: The main socket.
        mark: Memory shared with the owner.
        directory: Where large outputs are staged.
        owner: The process that started this one.
        kept: Bytes of code and constants that are kept between tasks.
        token: That of the marks in what is written.
        requirements: What is installed in this process's environment.
    """

    def __init__(  # noqa: PLR0917 - what the command line says, in order
        self,
        channel: socket.socket,
        mark: Mark,
        directory: str,
        owner: int,
        kept: int,
        token: bytes,
        requirements: Sequence[str] = (),
    ) -> None:
        self._inbox = Inbox(channel)
        self._outbox = Outbox(channel, mark)
        self._recorder = MarkWriter(mark, self._ship)
        self._agent = OwnerAgent(self._inbox, self._outbox)
        self._owner = owner
        self._surroundings: ProcessState | None = None
        self._runner = Runner(
            *(self._agent, self._recorder, directory, kept, requirements),
            devices=visible_devices(os.environ),
        )
        self._stored = self._runner.stored
        self._pack = lane_frames.packer().pack
        self._process_id = os.getpid()
        self._mark = mark
        self._task: EngineTask | None = None
        self._asked = False  # the running task has asked who it is: it may keep checkpoints
        self._output = Output(mark, token, self._writer)
        self._checkpoints = Checkpoints(directory)
        self._recorder.last_lines = self._output.last_lines

    def announce(self) -> None:
        """Tell the owner that work may come."""
        self._outbox.send(self._pack([lane_frames.READY, self._process_id]))

    def serve(self) -> None:
        """Run tasks until told to stop."""
        inbox, outbox = self._inbox, self._outbox
        Script(self._runner.code).install()
        self._output.install()
        self._surroundings = ProcessState(self._owner, self._output)
        self._place = ChildPlace(self._output, self._surroundings)
        answer_for_process(self._current)
        self._runner.code.loading = self._surroundings.loading
        self._runner.surround = self._surroundings.surround
        while True:
            try:
                task = inbox.pop()
            except IndexError:
                outbox.flush()
                if self._stored.holds_more and inbox.stays_empty():
                    self._stored.let_go()
                inbox.wait()
                continue
            if task is None:
                outbox.flush()
                self._place.close()
                return
            if outbox.waiting and outbox.is_due(monotonic_ns()):
                outbox.flush()
            if task.passed:
                self._run_passed(task)
            else:
                self._run(task)

    def control(self, channel: socket.socket) -> None:
        """Answer on the control socket until the owner is gone."""
        unpacker = lane_frames.unpacker()
        pack = lane_frames.packer().pack
        with suppress(OSError):
            while content := channel.recv(READ_BYTES):
                unpacker.feed(content)
                for message in unpacker:
                    returned = self._inbox.take_back(set(message[1]))
                    channel.sendall(pack([lane_frames.RETURNED, returned]))
        leave()

    def _run_passed(self, task: EngineTask) -> None:
        """Run a task that needs what others of this process have made, if it is here."""
        passed = self._inbox.passed
        taken = passed.take(task.passed)
        try:
            if len(taken) < len(task.passed):
                message = self._pack([lane_frames.ABSENT, task.serial])
                self._outbox.put(message, monotonic_ns())
            else:
                task.inputs = {**task.inputs, **taken}
                self._run(task)
        finally:
            passed.drop(taken)

    def _run(self, task: EngineTask) -> None:
        started = monotonic_ns()
        parts: list[list[object]] = []
        self._task = task
        self._recorder.begin(task.serial)
        self._agent.serial = task.serial
        self._agent.local = task.folder is None
        surroundings = self._surroundings
        assert surroundings is not None
        try:
            run = self._run_traced if task.trace else self._runner.run
            effects = surroundings.run(run, task)
        except TaskFailure as failure:
            now = monotonic_ns()
            message = [lane_frames.FAILED, task.serial, now - started, failure.kind, failure.text]
        except TaskPaused as pause:
            now = monotonic_ns()
            spent = [[item, *spent] for item, spent in pause.spent.items()]
            message = [
                lane_frames.PAUSED,
                task.serial,
                now - started,
                pause.due,
                spent,
                pause.saved,
            ]
        else:
            now = monotonic_ns()
            self._inbox.passed.keep(effects)
            parts = [*lane_frames.split_off_parts(effects)]
            message = [
                lane_frames.DONE,
                task.serial,
                now - started,
                *lane_frames.encode_effects(effects),
            ]
        if os.getpid() != self._process_id:
            os._exit(0)  # a task forked, and its copy came back here: it has no part in this
        self._output.close()
        self._runner.payload = None
        if self._asked or task.progress is not None:
            self._asked = False
            if message[0] != lane_frames.PAUSED:
                self._checkpoints.forget(task.task_id)
        # Told from its start on: others may be ready by what took long, and do not wait for more.
        if parts:
            for part in parts:
                self._outbox.send(self._pack([lane_frames.PART, task.serial, *part]))
            self._outbox.send(self._pack(message))  # not to be read before them, from the memory
        else:
            self._outbox.put(self._pack(message), started)
        self._recorder.end()
        runner = self._runner
        due = runner.touched or (runner.given and now > surroundings.due)
        if due and not surroundings.restore(runner.name, now, thorough=runner.touched):
            self._outbox.flush()
            self._place.close()
            os._exit(1)  # another process takes over what was not started

    def _run_traced(self, task: EngineTask) -> Effects:
        from armoflow.worker.traced import run_traced  # few tasks belong to a trace

        assert self._surroundings is not None
        return run_traced(self._runner, task, self._surroundings)

    def _writer(self) -> Writer:
        task, payload = self._task, self._runner.payload
        if task is None:
            return NOBODY
        name = self._runner.name if payload is None else name_of(payload, self._mark.position())
        return Writer.of(task.task_id, task.session_id, name)

    def _current(self) -> CurrentTask | None:
        """What runs, as its code may know it."""
        task, payload = self._task, self._runner.payload
        if task is None or payload is None:
            return None
        self._asked = True
        position = self._mark.position()
        step, item = item_of(payload, position.item)
        deadline = position.deadline
        left = (deadline - monotonic_ns()) * 1e-9
        return CurrentTask(
            id=task.task_id,
            session_id=task.session_id,
            name=position.name if position.inline else step.name,
            item=None if position.inline else item,
            attempt=position.attempt,
            deadline=time() + left if deadline else None,
            checkpoints=self._checkpoints.of_item(
                task.task_id, f"{position.inline}-{position.item}"
            ),
            place=self._place.of(self._recorder.settings if position.inline else step.settings),
        )

    def _ship(self, serial: int, base: int, lengths: bytes, spool: bytes) -> None:
        self._outbox.send(self._pack([lane_frames.PARTIAL, serial, base, lengths, spool]))


def _die_with(owner: int) -> None:
    """Let the kernel kill this process when its owner dies, even inside a C call."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    set_parent_death_signal, set_child_subreaper = 1, 36
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(set_parent_death_signal, signal.SIGKILL)
    # What a task starts and leaves to itself stays below this process, where its owner finds it.
    prctl(set_child_subreaper, 1)
    if os.getppid() != owner:
        leave()


def _die_first() -> None:
    """Where memory runs out, let the kernel end this process rather than its owner."""
    with (
        suppress(OSError, ValueError),
        open("/proc/self/oom_score_adj", "r+", encoding="utf-8") as file,  # noqa: PTH123
    ):
        score = int(file.read())
        file.seek(0)
        file.write(str(min(score + _SCORE, 1000)))


def _refuse_nested_computing() -> None:
    from armoflow.graph.context import INSIDE_TASK, enter

    enter(INSIDE_TASK)  # for threads that tasks start, too


def main() -> None:
    """Run as a child.

    Its arguments: ``main-fd control-fd mark-fd directory owner-pid kept token requirement...``.
    """
    channel_fd, control_fd, mark_fd = map(int, sys.argv[1:4])
    directory, owner, kept = sys.argv[4], int(sys.argv[5]), int(sys.argv[6])
    token, requirements = sys.argv[7].encode(), sys.argv[8:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner to handle
    for fd in (channel_fd, control_fd, mark_fd):
        os.set_inheritable(fd, False)
    if sys.path and not sys.path[0]:
        del sys.path[0]  # where the owner happens to stand is no place to import from
    faulthandler.enable()
    channel = socket.socket(fileno=channel_fd)
    arrive_in(directory)
    child = Child(channel, Mark(mark_fd), directory, owner, kept, token, requirements)
    control = socket.socket(fileno=control_fd)
    threading.Thread(target=child.control, args=(control,), daemon=True).start()
    child.announce()
    _die_with(owner)
    _die_first()
    _refuse_nested_computing()
    gc.freeze()  # what was made since the imports stays as well
    child.serve()


if __name__ == "__main__":
    main()
