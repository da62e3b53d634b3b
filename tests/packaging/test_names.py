"""No name of the package stands for two things: neither a class's nor a module's."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "armoflow"
MODULES = sorted(PACKAGE.rglob("*.py"))
IN_EVERY_PACKAGE = {"__init__.py", "__main__.py"}
CLASS_LINE = re.compile(r"^ *class (\w+)", re.MULTILINE)


def test_no_two_modules_define_a_class_of_the_same_name() -> None:
    lines = twice((name, each) for each in MODULES for name in CLASS_LINE.findall(each.read_text()))
    seen = {module for modules in lines.values() for module in modules}  # parsing all takes seconds
    found = twice((name, module) for module in seen for name in classes_of(module))
    assert not found, (
        f"these classes have the name of another, so say in each name what it is: {shown(found)}"
    )


def test_no_two_modules_share_a_file_name() -> None:
    found = twice((each.name, each) for each in MODULES if each.name not in IN_EVERY_PACKAGE)
    assert not found, (
        f"these modules have the name of another, so say in each name what it is: {shown(found)}"
    )


def classes_of(module: Path) -> set[str]:
    nodes = ast.walk(ast.parse(module.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.ClassDef)}


def twice(named: Iterable[tuple[str, Path]]) -> dict[str, set[Path]]:
    found: dict[str, set[Path]] = defaultdict(set)
    for name, module in named:
        found[name].add(module)
    return {name: modules for name, modules in found.items() if len(modules) > 1}


def shown(found: dict[str, set[Path]]) -> str:
    return "; ".join(
        f"{name} ({', '.join(sorted(str(each.relative_to(PACKAGE)) for each in modules))})"
        for name, modules in sorted(found.items())
    )
