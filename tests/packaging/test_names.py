"""No name of the package stands for two things: neither a class's nor a module's."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "armoflow"
MODULES = sorted(PACKAGE.rglob("*.py"))
IN_EVERY_PACKAGE = {"__init__.py", "__main__.py"}


def test_no_two_modules_define_a_class_of_the_same_name() -> None:
    assert twice((name, module) for module in MODULES for name in classes_of(module)) == {}, (
        "these classes have the name of another: say in each name what it is"
    )


def test_no_two_modules_share_a_file_name() -> None:
    named = ((module.name, module) for module in MODULES)
    assert twice((name, module) for name, module in named if name not in IN_EVERY_PACKAGE) == {}, (
        "these modules have the name of another: say in each name what it is"
    )


def classes_of(module: Path) -> Iterator[str]:
    tree = ast.parse(module.read_text())
    return (node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def twice(named: Iterable[tuple[str, Path]]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for name, module in named:
        found[name].add(str(module.relative_to(PACKAGE.parent)))
    return {name: sorted(modules) for name, modules in found.items() if len(modules) > 1}
