"""``armoflow cache verify``: a sample of what is kept, computed again."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import rich_click as click

from armoflow.catalogue import every_result, results_of
from armoflow.cli.printing import print_json
from armoflow.cli.termination import ending_in_order
from armoflow.client.cached_data import reading_cached
from armoflow.index import Index
from armoflow.protocol.settings import ConnectionSettings
from armoflow.recipes import recipe_of, recipes_among
from armoflow.replay.verifying import Verdict, Verified, verify
from armoflow.report.wording import counted

_BAD = (Verdict.NONDETERMINISTIC, Verdict.WRONG, Verdict.FAILED)
_NAMED = 5


class Sampled(NamedTuple):
    """What came of a sample.

    Attributes:
        verified: The results that were looked at.
        able: How many could be.
        unable: How many could not: nothing is kept that they can be computed from.
    """

    verified: Sequence[Verified]
    able: int
    unable: int


def verify_some(
    index: Index, settings: ConnectionSettings, state: Path | None, name: str | None, sample: int
) -> Sampled:
    """Compute some results again.

    Args:
        index: Says what is kept.
        settings: How the engine is reached.
        state: The state directory, where it is an engine of its clients.
        name: Of which task, maybe with its version; None: of all.
        sample: How many.

    Raises:
        UnknownIdError: If nothing is kept of the task.
    """
    numbers = every_result(index) if name is None else [r.number for r in results_of(index, name)]
    able = recipes_among(index, numbers)
    verified = []
    if able:
        chosen = random.sample(able, min(sample, len(able)))
        with ending_in_order(), reading_cached(settings, state) as read:
            for number in sorted(chosen):
                recipe = recipe_of(index, number)
                if recipe is not None:
                    verified.append(verify(recipe, read))
    return Sampled(verified, len(able), len(numbers) - len(able))


def tell_verified(sampled: Sampled, *, as_json: bool) -> int:
    """Print what came of it; returns the command's code."""
    by_task: defaultdict[tuple[str, str | None], list[Verified]] = defaultdict(list)
    for one in sampled.verified:
        by_task[one.task, one.version].append(one)
    code = int(any(one.verdict in _BAD for one in sampled.verified))
    if as_json:
        print_json(
            {
                "results": [_row(one) for one in sampled.verified],
                "computable": sampled.able,
                "not_computable": sampled.unable,
            }
        )
        return code
    for (task, version), some in by_task.items():
        _tell_task(task if version is None else f"{task}@{version}", some)
    left = sampled.able - len(sampled.verified)
    if left:
        was = "was" if left == 1 else "were"
        click.echo(
            f"{counted(left, 'further result')} {was} not looked at: --sample says how many are"
        )
    if sampled.unable:
        click.echo(
            f"{counted(sampled.unable, 'result')} cannot be computed again: what they were made of"
        )
        click.echo("  is kept of some results of each task, and of those that need little data")
    if not sampled.verified and not sampled.unable:
        click.echo("nothing is kept")
    return code


def _tell_task(name: str, some: Sequence[Verified]) -> None:
    counts = Counter(one.verdict for one in some)
    values = sum(one.values for one in some)
    click.echo(
        f"{name}: {counts[Verdict.SAME]:,} of {counted(len(some), 'result')} as kept, "
        f"{counted(values, 'value')} compared"
    )
    for verdict in (*_BAD, Verdict.UNKNOWN):
        found = [one for one in some if one.verdict is verdict]
        kind = "cannot be computed again" if verdict is Verdict.UNKNOWN else verdict.value
        for one in found[:_NAMED]:
            click.echo(f"  result {one.number} {kind}: {one.text}")
        if len(found) > _NAMED:
            click.echo(f"  ... and {len(found) - _NAMED:,} more: {kind}")


def _row(one: Verified) -> dict[str, object]:
    return {**one._asdict(), "verdict": one.verdict.value}
