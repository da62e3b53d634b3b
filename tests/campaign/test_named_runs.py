"""Some moments of the campaign of named runs; ``python -m tests.campaign.named_runs`` has more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.campaign.named_runs import KILLED, Campaign, Verdict, table


@pytest.fixture(scope="module", params=[False, True], ids=["embedded", "stock"])
def campaign(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Campaign]:
    campaign = Campaign(tmp_path_factory.mktemp("named"), 100, stock=request.param)
    yield campaign
    campaign.close()


@pytest.mark.parametrize("killed", KILLED)
def test_a_run_goes_on_whatever_is_killed(
    campaign: Campaign, killed: str, request: pytest.FixtureRequest
) -> None:
    """Early on one kind of engine, late on the other."""
    early = ("embedded" in request.node.name) == (killed == KILLED[0])
    verdict = campaign.play(killed, 0.1 if early else 0.3)
    assert not verdict.problems


def test_the_table_counts_what_should_not_be() -> None:
    rounds = [Verdict(KILLED[0], 0.1, "7", 10), Verdict(KILLED[0], 0.2, "not whole", 3, 0, ["x"])]
    assert table(rounds).splitlines()[-1] == "| client | 2 | 1 | 3 to 10 | 1 | 0 |"
