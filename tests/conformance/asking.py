"""Asks an engine the recorded questions, many at a time, and compares the answers."""

from __future__ import annotations

import importlib
import inspect
import json
import queue
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from . import questions
from .questions import kit

FOLDER = Path(questions.__file__).parent
WORKER = FOLDER / "worker.py"
SOLOS = tuple(f"solo{number}" for number in range(4))
"""Partitions of one pod each: so many questions that need one to themselves are asked at a time."""

AT_ONCE = 24
HURRY = 0.4
"""Part of a recorded wait for something not to happen that is enough, while nothing else fails."""

for path in sorted(FOLDER.glob("probes_*.py")):
    importlib.import_module(f".questions.{path.stem}", __package__)

QUESTIONS: Mapping[str, Callable[[kit.Client], Any]] = kit.PROBES
ANSWERS: Mapping[str, Any] = json.loads((FOLDER / "answers.json").read_text())


class Difference(NamedTuple):
    """Where two answers differ: the place, what was recorded, and what came now."""

    place: str
    recorded: Any
    here: Any


def ask_all(endpoint: str, expected: Iterable[str] = ()) -> dict[str, list[Difference]]:
    """The questions that are answered differently, and how.

    Args:
        endpoint: The engine: host and port.
        expected: Questions that are known to be answered differently. Others are asked again, one
            by one and in no hurry: what happens by chance on a busy machine is no answer.
    """
    solos: queue.SimpleQueue[str] = queue.SimpleQueue()
    for solo in SOLOS:
        solos.put(solo)

    def ask_alone(name: str) -> list[Difference]:
        solo = solos.get()
        try:
            return ask(endpoint, name, solo=solo, pace=HURRY)
        finally:
            solos.put(solo)

    alone = [name for name, question in QUESTIONS.items() if _needs_a_pod(question)]
    others = [name for name in QUESTIONS if name not in alone]
    with ThreadPoolExecutor(AT_ONCE) as crowd, ThreadPoolExecutor(len(SOLOS)) as few:
        answers = {name: few.submit(ask_alone, name) for name in alone}
        answers |= {name: crowd.submit(ask, endpoint, name, pace=HURRY) for name in others}
        found = {name: answer.result() for name, answer in answers.items()}
    known = set(expected)
    for name in QUESTIONS:
        for _ in range(2):
            if found[name] and name not in known:
                found[name] = ask(endpoint, name)
    return {name: differences for name, differences in found.items() if differences}


def ask(endpoint: str, name: str, *, solo: str = SOLOS[0], pace: float = 1.0) -> list[Difference]:
    """Ask one question, and compare the answer with the recorded one."""
    client = kit.Client(endpoint, "default", solo, "empty")
    client.pace = pace
    client.labels[solo] = "solo"  # as it was called when the answers were recorded
    try:
        try:
            answer = QUESTIONS[name](client)
        except Exception as error:  # how a question went wrong is an answer
            line = traceback.extract_tb(error.__traceback__)[-1].lineno
            answer = {"stopped by": type(error).__name__, "~why": f"{line}: {error}"}
        answer = client.normal(answer)
    finally:
        client.clean()
        client.channel.close()
    return list(_compare(ANSWERS[name], answer, ""))


def _needs_a_pod(question: Callable[[kit.Client], Any]) -> bool:
    return "c.solo" in inspect.getsource(question)


def _compare(recorded: Any, here: Any, place: str) -> Iterable[Difference]:
    if isinstance(recorded, dict) and "?any" in recorded:
        if all(list(_compare(choice, here, place)) for choice in recorded["?any"]):
            yield Difference(place, recorded, here)
    elif isinstance(recorded, dict) and isinstance(here, dict):
        for key in dict.fromkeys([*recorded, *here]):
            if key.startswith("~"):
                continue
            if key in recorded and key in here:
                yield from _compare(recorded[key], here[key], f"{place}.{key}")
            else:
                yield Difference(f"{place}.{key}", recorded.get(key), here.get(key))
    elif isinstance(recorded, list) and isinstance(here, list) and len(recorded) == len(here):
        for number, (one, other) in enumerate(zip(recorded, here, strict=True)):
            yield from _compare(one, other, f"{place}[{number}]")
    elif recorded != here:
        yield Difference(place, recorded, here)
