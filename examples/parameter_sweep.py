# /// script
# requires-python = ">=3.10"
# dependencies = ["armoflow"]
# ///
"""Which neighbours tell a penguin's species? A sweep of k-nearest-neighbour models.

Every combination of settings is scored on every fold of a cross-validation: one item each. The
table is uploaded once, with ``client.put``, and used by all of them.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import random
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from armoflow import Client, task

TABLE = Path(__file__).parent / "data" / "penguins.csv"
MEASURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
FOLDS = 5


@dataclass(frozen=True)
class Bird:
    """One row of the table."""

    species: str
    measures: tuple[float, ...]


@dataclass(frozen=True)
class Settings:
    """One model of the sweep."""

    neighbours: int
    power: int
    standardised: bool

    def __str__(self) -> str:
        """As a row of the printed table."""
        metric = {1: "manhattan", 2: "euclidean"}[self.power]
        return (
            f"{self.neighbours:>3}  {metric}  {'standardised' if self.standardised else 'raw':<12}"
        )


def standardise(birds: list[Bird], reference: list[Bird]) -> list[Bird]:
    """Shift and scale every measure to mean 0 and deviation 1 on the reference."""
    columns = list(zip(*(bird.measures for bird in reference), strict=True))
    means = [statistics.fmean(column) for column in columns]
    spreads = [statistics.pstdev(column) for column in columns]
    return [
        Bird(
            bird.species,
            tuple((x - m) / s for x, m, s in zip(bird.measures, means, spreads, strict=True)),
        )
        for bird in birds
    ]


def distance(left: Bird, right: Bird, power: int) -> float:
    """The Minkowski distance, without its last root: the order is the same."""
    return sum(abs(a - b) ** power for a, b in zip(left.measures, right.measures, strict=True))


def classify(bird: Bird, known: list[Bird], settings: Settings) -> str:
    """The most frequent species among the nearest known birds."""
    nearest = sorted(known, key=lambda other: distance(bird, other, settings.power))
    votes = Counter(other.species for other in nearest[: settings.neighbours])
    return votes.most_common(1)[0][0]


@task
def score(settings: Settings, fold: int, birds: list[Bird]) -> int:
    """How many birds of a fold the model gets right when it has seen all the others."""
    known = [bird for index, bird in enumerate(birds) if index % FOLDS != fold]
    asked = birds[fold::FOLDS]
    if settings.standardised:
        known, asked = standardise(known, known), standardise(asked, known)
    return sum(classify(bird, known, settings) == bird.species for bird in asked)


def read_birds() -> list[Bird]:
    """The complete rows of the table, shuffled."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[MEASURES[0]] != "NA"]
    birds = [Bird(row["species"], tuple(float(row[name]) for name in MEASURES)) for row in rows]
    random.Random(1).shuffle(birds)
    return birds


def main() -> None:
    """Run the sweep and print its models, best first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[1, 5, 25])
    parser.add_argument("--local", action="store_true", help="run in this thread, to debug")
    arguments = parser.parse_args()

    birds = read_birds()
    sweep = [
        Settings(*values)
        for values in itertools.product(arguments.neighbours, [1, 2], [True, False])
    ]
    runs = list(itertools.product(sweep, range(FOLDS)))
    with Client(local=arguments.local) as client:
        correct = client.compute(score.starmap(runs, birds=client.put(birds)))

    totals: Counter[Settings] = Counter()
    for (settings, _), right in zip(runs, correct, strict=True):
        totals[settings] += right
    print(f"{len(sweep)} models, {FOLDS} folds, {len(birds)} birds")
    print("  k  metric     measures      correct")
    for settings, right in totals.most_common():
        print(f"{settings}  {right / len(birds):7.1%}")


if __name__ == "__main__":
    main()

# Output:
# 12 models, 5 folds, 342 birds
#   k  metric     measures      correct
#   1  euclidean  standardised    98.8%
#   5  manhattan  standardised    98.8%
#   5  euclidean  standardised    98.8%
#   1  manhattan  standardised    98.5%
#  25  manhattan  standardised    97.7%
#  25  euclidean  standardised    97.7%
#   1  euclidean  raw             85.1%
#   1  manhattan  raw             83.9%
#   5  manhattan  raw             78.7%
#   5  euclidean  raw             78.7%
#  25  manhattan  raw             73.7%
#  25  euclidean  raw             73.7%
