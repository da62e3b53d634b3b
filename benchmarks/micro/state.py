"""What the state machine costs per task, in microseconds, without journal and agents.

Processor time, the best of several rounds. Run: python -m benchmarks.micro.state [tasks] [batch]
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator

from armoflow.engine.records import ApiOptions, NewResult, NewTask, Partition, Stored
from armoflow.engine.state import State

STEPS = ("create", "submit", "payloads", "run", "complete", "evict")


def batches(count: int, size: int) -> Iterator[range]:
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def new_state() -> State:
    state = State([Partition("default")], "default")
    options = ApiOptions(max_duration=60.0, max_retries=3, priority=1)
    state.create_session(0.0, "session", options, [])
    return state


def separate_commands(count: int, size: int) -> dict[str, float]:
    """Seconds spent in each command; every batch goes through all of them."""
    state = new_state()
    spent = dict.fromkeys(STEPS, 0.0)
    clock = time.process_time
    for batch in batches(count, size):
        results = [NewResult(f"p{i}", "payload") for i in batch]
        results += [NewResult(f"o{i}", "output") for i in batch]
        tasks = [NewTask(f"t{i}", f"p{i}", (), (f"o{i}",)) for i in batch]
        payloads = [(f"p{i}", Stored(b"payload%d" % i, 100)) for i in batch]
        commits = [(f"t{i}", (), {f"o{i}": Stored(b"output%d" % i, 100)}, ()) for i in batch]
        marks = [clock()]
        state.create_results(1.0, "session", results)
        marks.append(clock())
        state.submit_tasks(1.0, "session", None, tasks)
        marks.append(clock())
        changes = state.complete_results(2.0, "session", payloads)
        marks.append(clock())
        state.run(3.0, [task.id for task in changes.ready], "agent")
        marks.append(clock())
        state.complete_tasks(4.0, commits)
        marks.append(clock())
        state.evict(f"t{i}" for i in batch)
        marks.append(clock())
        for step, start, end in zip(STEPS, marks, marks[1:], strict=False):
            spent[step] += end - start
    return spent


def combined_command(count: int, size: int) -> float:
    """Seconds spent in submit_with_data, which is create, submit and payloads in one."""
    state = new_state()
    spent = 0.0
    for batch in batches(count, size):
        results = [NewResult(f"p{i}", "payload") for i in batch]
        results += [NewResult(f"o{i}", "output") for i in batch]
        tasks = [NewTask(f"t{i}", f"p{i}", (), (f"o{i}",)) for i in batch]
        payloads = [(f"p{i}", Stored(b"payload%d" % i, 100)) for i in batch]
        start = time.process_time()
        state.submit_with_data(1.0, "session", results, tasks, payloads)
        spent += time.process_time() - start
    return spent


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    for title, collect in (("garbage collector on", True), ("garbage collector off", False)):
        if not collect:
            gc.disable()
        best = min(
            (separate_commands(count, size) for _ in range(7)), key=lambda s: sum(s.values())
        )
        combined = min(combined_command(count, size) for _ in range(7))
        figures = {step: seconds / count * 1e6 for step, seconds in best.items()}
        core = sum(figures[step] for step in ("submit", "payloads", "run", "complete"))
        listed = ", ".join(f"{step} {figure:.2f}" for step, figure in figures.items())
        print(f"{title}: {listed} us per task")
        print(f"  submit + payloads + run + complete: {core:.2f} us per task")
        print(f"  submit_with_data alone: {combined / count * 1e6:.2f} us per task")


if __name__ == "__main__":
    main()
