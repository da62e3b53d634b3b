"""What ``docs/architecture.md`` calls a function, a class or a module is one."""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
METHOD = re.compile(r"`(_?[A-Z]\w+)\.(\w+)")
MODULE = re.compile(r"`([a-z_]+(?:\.[a-z_]+)+)(?:\.[A-Z]\w+)?`")


def test_methods_of_the_walk_exist() -> None:
    home = {
        name: ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "armoflow").rglob("*.py")
        for name in re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE)
    }
    named = set(METHOD.findall(PAGE))
    assert len(named) > 30
    assert [f"{kind}.{name}" for kind, name in named if not has_method(home, kind, name)] == []


def test_modules_exist() -> None:
    named = set(MODULE.findall(PAGE))
    assert len(named) > 10
    assert [module for module in named if find_spec(f"armoflow.{module}") is None] == []


def has_method(home: dict[str, str], kind: str, name: str) -> bool:
    found = getattr(import_module(home[kind]), kind) if kind in home else None
    return callable(getattr(found, name, None))
