# /// script
# requires-python = ">=3.10"
# dependencies = ["armoflow"]
# ///
"""A book of options, priced in stages: starmap, filter, a task with two outputs, reduce.

grid -> contracts -> those near the money -> (value, sensitivity) of each -> the book's total, the
most sensitive contract, and the largest gap to the closed formula.
"""

from __future__ import annotations

import argparse
import itertools
import math
import operator
import random
from dataclasses import dataclass
from statistics import NormalDist

from armoflow import Client, task

SPOT = 100.0
RATE = 0.03


@dataclass(frozen=True)
class Contract:
    """A European call option."""

    strike: float
    years: float
    volatility: float

    def __str__(self) -> str:
        """As it is quoted."""
        return f"call {self.strike:.0f}, {self.years:g} years, volatility {self.volatility:.0%}"


@dataclass(frozen=True)
class Value:
    """What a contract is worth, simulated and by the closed formula."""

    contract: Contract
    simulated: float
    exact: float

    @property
    def gap(self) -> float:
        """How far the simulation is off."""
        return abs(self.simulated - self.exact)


@dataclass(frozen=True)
class Delta:
    """How much the value moves when the share moves by one."""

    contract: Contract
    delta: float


@task
def make_contract(strike: float, years: float, volatility: float) -> Contract:
    """One contract of the grid."""
    return Contract(strike, years, volatility)


@task
def near_the_money(contract: Contract) -> bool:
    """Whether the strike lies within one deviation of the share's price."""
    width = contract.volatility * math.sqrt(contract.years)
    return abs(math.log(contract.strike / SPOT)) <= width


@task(outputs=2)
def price(contract: Contract, paths: int) -> tuple[Value, Delta]:
    """Simulate the share's price at the end, each path with its mirror image."""
    drift = (RATE - contract.volatility**2 / 2) * contract.years
    width = contract.volatility * math.sqrt(contract.years)
    discount = math.exp(-RATE * contract.years)
    gauss = random.Random(str(contract)).gauss
    payoff = slope = 0.0
    for _ in range(paths // 2):
        shock = width * gauss(0.0, 1.0)
        for end in (SPOT * math.exp(drift + shock), SPOT * math.exp(drift - shock)):
            if end > contract.strike:
                payoff += end - contract.strike
                slope += end / SPOT
    value = Value(contract, discount * payoff / paths, black_scholes(contract))
    return value, Delta(contract, discount * slope / paths)


def black_scholes(contract: Contract) -> float:
    """The closed formula."""
    normal = NormalDist().cdf
    width = contract.volatility * math.sqrt(contract.years)
    upper = (math.log(SPOT / contract.strike) + RATE * contract.years) / width + width / 2
    discounted = contract.strike * math.exp(-RATE * contract.years)
    return SPOT * normal(upper) - discounted * normal(upper - width)


@task
def simulated(value: Value) -> float:
    """The simulated value alone."""
    return value.simulated


@task
def further_off(left: Value, right: Value) -> Value:
    """The one with the larger gap."""
    return max(left, right, key=lambda value: value.gap)


@task
def more_sensitive(left: Delta, right: Delta) -> Delta:
    """The one with the larger delta."""
    return max(left, right, key=lambda delta: delta.delta)


def main() -> None:
    """Price the book and print its three figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=int, default=50_000, help="simulated paths a contract")
    parser.add_argument("--local", action="store_true", help="run in this thread, to debug")
    arguments = parser.parse_args()

    grid = list(itertools.product(range(60, 150, 10), [0.25, 0.5, 1.0, 2.0], [0.1, 0.2, 0.4]))
    contracts = make_contract.starmap(grid).filter(near_the_money)
    values, deltas = price.map(contracts, paths=arguments.paths)
    book = values.map(simulated).reduce(operator.add)
    worst = values.reduce(further_off)
    riskiest = deltas.reduce(more_sensitive)
    with Client(local=arguments.local) as client:
        traded, total, gap, delta = client.compute(contracts, book, worst, riskiest)

    print(f"{len(traded)} of {len(grid)} contracts are near the money, worth {total:,.2f} in all")
    print(f"largest gap   {gap.contract}: {gap.simulated:.3f}, exactly {gap.exact:.3f}")
    print(f"largest delta {delta.contract}: {delta.delta:.3f}")


if __name__ == "__main__":
    main()

# Output:
# 49 of 108 contracts are near the money, worth 663.47 in all
# largest gap   call 120, 2 years, volatility 40%: 17.939, exactly 17.750
# largest delta call 60, 2 years, volatility 40%: 0.904
