"""``python -m tests.campaign``: many rounds, and a table; exits with 1 if something was lost."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from tests.campaign.rounds import DURABILITIES, KINDS, Verdict, play

COLUMNS = ("killed", "durability", "rounds", "lost", "doubled", "run again", "left over")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument(
        "--rounds",
        type=_count,
        default=200,
        metavar="N",
        help="in all, dealt evenly to what is killed and to the durabilities (default: 200)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the first one (default: 0)"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=[*KINDS, *DURABILITIES],
        help="what is killed, or a durability; may be repeated",
    )
    return parser.parse_args(arguments)


def plan(rounds: int, seed: int, only: Iterable[str] | None) -> Iterator[tuple[str, str, int]]:
    """The rounds: what is killed, durability, seed.

    Example:
        >>> list(plan(3, 7, ["engine"]))
        [('engine', 'normal', 7), ('engine', 'full', 7), ('engine', 'normal', 8)]
    """
    chosen = set(only or ())
    kinds = [kind for kind in KINDS if kind in chosen] or list(KINDS)
    durabilities = [name for name in DURABILITIES if name in chosen] or list(DURABILITIES)
    cells = [(kind, durability) for kind in kinds for durability in durabilities]
    for number in range(rounds):
        kind, durability = cells[number % len(cells)]
        yield kind, durability, seed + number // len(cells)


def table(verdicts: Sequence[Verdict]) -> str:
    """What was killed how often, and what that has cost, in Markdown."""
    lines = [
        f"| {' | '.join(COLUMNS)} | recovery, median |",
        f"|{'---|' * (len(COLUMNS) + 1)}",
    ]
    for kind in KINDS:
        for durability in DURABILITIES:
            cell = [v for v in verdicts if (v.kind, v.durability) == (kind, durability)]
            if cell:
                lines.append(_line(kind, durability, cell))
    lines.append(_line("all", "", verdicts))
    return "\n".join(lines)


def _line(kind: str, durability: str, verdicts: Sequence[Verdict]) -> str:
    costs = ("lost", "doubled", "again", "left")
    counts = [sum(len(getattr(verdict, cost)) for verdict in verdicts) for cost in costs]
    counts.insert(0, len(verdicts))
    times = [verdict.recovery for verdict in verdicts if verdict.recovery is not None]
    median = f"{statistics.median(times):.2f} s" if times and durability else ""
    return f"| {kind} | {durability} | {' | '.join(map(str, counts))} | {median} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the rounds; returns the exit code."""
    chosen = parse(arguments)
    verdicts: list[Verdict] = []
    started = time.monotonic()
    try:
        for kind, durability, seed in plan(chosen.rounds, chosen.seed, chosen.only):
            verdict = play(kind, durability, seed)
            verdicts.append(verdict)
            _report(verdict, len(verdicts), chosen.rounds, time.monotonic() - started)
    except KeyboardInterrupt:
        print("interrupted: the table is of the rounds so far", file=sys.stderr)
    print(table(verdicts))
    return int(any(verdict.problems for verdict in verdicts))


def _report(verdict: Verdict, number: int, rounds: int, seconds: float) -> None:
    place = f"{verdict.kind}, {verdict.durability}, seed {verdict.seed}, {verdict.setup}"
    outcome = "well" if not verdict.problems else f"{len(verdict.problems)} problem(s)"
    print(f"[{number}/{rounds}, {seconds:.0f} s] {place}: {outcome}", file=sys.stderr, flush=True)
    for problem in verdict.problems:
        print(f"    {problem}", file=sys.stderr, flush=True)


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds: give at least 1")
    return count


if __name__ == "__main__":
    sys.exit(main())
