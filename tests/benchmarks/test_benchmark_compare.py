"""Two checkouts side by side: what the table says, and when it is a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import compare
from benchmarks.compare import HERE, Comparison


def measured(monkeypatch: pytest.MonkeyPatch, before: float, after: float) -> list[Path]:
    """Let every trial give the same number in a checkout; returns the order of the trials."""
    order: list[Path] = []

    def measure(checkout: Path, name: str, key: str) -> float:
        order.append(checkout)
        return after if checkout == HERE else before

    monkeypatch.setattr(compare, "measure", measure)
    return order


@pytest.fixture
def other(tmp_path: Path) -> Path:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return tmp_path


def test_the_checkouts_take_turns(monkeypatch: pytest.MonkeyPatch, other: Path) -> None:
    order = measured(monkeypatch, 1.0, 1.0)
    compare.compare(other, ["chain-500"], rounds=2)
    assert order == [other, HERE, HERE, other]


@pytest.mark.parametrize(
    ("name", "before", "after", "said", "code"),
    [
        ("chain-500", 1.0, 1.2, "+20.0%", 1),
        ("chain-500", 1.0, 0.5, "-50.0%", 0),
        ("noop-1k", 1000.0, 500.0, "+100.0%", 1),
        ("noop-1k", 1000.0, 990.0, "+1.0%", 0),
    ],
)
def test_slower_by_more_than_the_tolerance_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    other: Path,
    name: str,
    before: float,
    after: float,
    said: str,
    code: int,
) -> None:
    measured(monkeypatch, before, after)
    assert compare.main([str(other), "--workload", name, "--rounds", "1"]) == code
    assert said in capsys.readouterr().out


def test_the_ratio_is_that_of_trials_side_by_side() -> None:
    """A machine that slows down between rounds changes neither."""
    drifting = Comparison("s", at_least=False, before=[1.0, 2.0, 4.0], after=[1.1, 2.2, 4.4])
    assert drifting.slowdown == pytest.approx(1.1)


def test_a_checkout_without_an_environment_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        compare.main([str(tmp_path)])
    assert str(tmp_path) in capsys.readouterr().err
