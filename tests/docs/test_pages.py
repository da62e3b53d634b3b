"""What the pages say agrees with what is there."""

from __future__ import annotations

import builtins
import inspect
import re
from pathlib import Path

import pytest

from armoflow import Client, errors
from armoflow.cli.up import make_parser
from armoflow.options import DEFAULT_OPTIONS, OPTION_NAMES
from tests.docs.snippets import PAGES, ROOT

MARKDOWN = sorted([*PAGES, *(ROOT / "examples").rglob("*.md")])


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", text)
    broken = [target for target in targets if not (page.parent / target).exists()]
    assert not broken


def test_the_readme_lists_every_option_with_its_default() -> None:
    rows = dict(
        re.findall(r"^\| `(\w+)` \| ([^|]+) \|", (ROOT / "README.md").read_text("utf-8"), re.M)
    )
    assert rows.keys() == {*OPTION_NAMES, "outputs"}
    for name in OPTION_NAMES:
        default = getattr(DEFAULT_OPTIONS, name)
        if default is not None:
            assert rows[name].strip("` ") == str(default)


def test_the_pages_list_every_option_of_up_and_of_the_client(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["--help"])
    options = set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.M))
    clusters = (ROOT / "docs" / "clusters.md").read_text("utf-8")
    assert options == set(re.findall(r"^\| `(--[a-z-]+)", clusters, re.M))

    parameters = list(inspect.signature(Client).parameters)[:-1]  # the last are task options
    concepts = (ROOT / "docs" / "concepts.md").read_text("utf-8")
    assert set(parameters) <= set(re.findall(r"^\| `(\w+)`", concepts, re.M))


def test_errors_that_the_pages_name_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"`(\w+Error)`", page.read_text(encoding="utf-8")):
            known = hasattr(errors, name) or hasattr(builtins, name)
            assert known, f"{page.name} names {name}"
