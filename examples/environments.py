# /// script
# requires-python = ">=3.10"
# dependencies = ["armoflow[uv]", "sortedcontainers"]
# ///
"""A running median: a package for one task, variables for all, code of one's own.

A window that stays sorted makes it quick, and there is a package for that. The task asks for it:
where the task runs it is installed into an environment of its own, once, beside what the worker
has. (`--local` installs nothing, so there the script's own environment needs it.)
"""

from __future__ import annotations

import argparse
import os
import random

from armoflow import Client, task, what_travels


def noisy(seed: int, length: int) -> list[float]:
    """A random walk with a spike now and then, as sensors have them."""
    chance = random.Random(seed)
    level, series = 20.0, []
    for _ in range(length):
        level += chance.gauss(0, 0.1)
        series.append(level + (30 if chance.random() < 0.02 else 0))
    return series


@task(requirements=["sortedcontainers>=2"], env={"DIGITS": "1"})
def highest(seed: int, length: int) -> tuple[float, float]:
    """The highest value of a sensor, and the highest running median."""
    from sortedcontainers import SortedList

    width, digits = int(os.environ["WINDOW"]), int(os.environ["DIGITS"])
    series = noisy(seed, length)
    window = SortedList(series[:width])
    smooth = [window[width // 2]]
    for gone, new in zip(series, series[width:], strict=False):
        window.remove(gone)
        window.add(new)
        smooth.append(window[width // 2])
    return round(max(series), digits), round(max(smooth), digits)


def main() -> None:
    """Say what goes along with the task, run it, and print what the sensors have seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sensors", type=int, default=6, help="items of the map")
    parser.add_argument("--length", type=int, default=10_000, help="measurements of one sensor")
    parser.add_argument("--window", type=int, default=25, help="measurements of one median")
    parser.add_argument("--local", action="store_true", help="run in this thread, to debug")
    arguments = parser.parse_args()

    packages = [package.partition(" ")[0] for package in what_travels(highest).by_name]
    print("has to be installed where it runs:", *packages)
    # What the client says holds for all tasks, beside what each says itself.
    with Client(local=arguments.local, env={"WINDOW": str(arguments.window)}) as client:
        found = client.compute(highest.map(range(arguments.sensors), length=arguments.length))
    for sensor, (raw, median) in enumerate(found):
        print(f"sensor {sensor}: {raw:5.1f} at most, {median:5.1f} without spikes")


if __name__ == "__main__":
    main()

# Output:
# has to be installed where it runs: sortedcontainers
# sensor 0:  56.2 at most,  26.3 without spikes
# sensor 1:  52.6 at most,  22.6 without spikes
# sensor 2:  55.0 at most,  25.0 without spikes
# sensor 3:  52.3 at most,  23.0 without spikes
# sensor 4:  58.4 at most,  28.2 without spikes
# sensor 5:  51.8 at most,  21.5 without spikes
