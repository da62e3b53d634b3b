"""The security page lists every place that unpickles, and names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.docs.snippets import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "armoflow"


def unpickles(path: Path) -> bool:
    """Whether a module calls ``loads`` of a pickle, or makes an unpickler."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(tree)
        if isinstance(node, (ast.Attribute, ast.Name))
        and not (isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "json")
    }
    return not names.isdisjoint({"loads", "Unpickler", "load_exception"})


def test_every_place_that_unpickles_is_told() -> None:
    section = PAGE.partition("## What is unpickled")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([a-z_]+/[a-z_]+\.py)`", section))
    found = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if unpickles(path)}
    assert found == told
    assert not any(path.startswith(("engine/", "agent/", "protocol/")) for path in found)


def test_the_tests_that_it_names_exist() -> None:
    for name in re.findall(r"`(tests/[^`]+)`", PAGE):
        path, _, function = name.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        assert f"def {function}(" in text or not function, name


def test_each_door_has_who_checks_it_and_a_test_of_just_that() -> None:
    section = PAGE.partition("## What enters where")[2].partition("\n## ")[0]
    rows = [row.split(" | ") for row in re.findall(r"(?m)^\| (.+) \|$", section)][1:]
    assert len(rows) > 25
    for enters, _where, checks, shown in rows:
        modules = re.findall(r"`([a-z_/]+\.py)`", checks)
        assert modules or "the system" in checks, enters
        assert [module for module in modules if not (PACKAGE / module).is_file()] == [], enters
        assert re.fullmatch(r"`tests/\S+::\w+`(, `tests/\S+::\w+`)*", shown), enters
