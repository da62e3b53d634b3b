"""No name of the package stands for two things: of a class, an alias of a type, a module."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "armoflow"
MODULES = sorted(PACKAGE.rglob("*.py"))
IN_EVERY_PACKAGE = {"__init__.py", "__main__.py"}
TYPE_LINE = re.compile(r"^ *class (\w+)|^([A-Z]\w*[a-z]\w*)(?=: | = )", re.MULTILINE)


def test_no_two_modules_define_a_class_or_an_alias_of_the_same_name() -> None:
    lines = twice(
        (name, each)
        for each in MODULES
        for match in TYPE_LINE.finditer(each.read_text())
        if (name := match[match.lastindex or 0])
    )
    seen = {module for modules in lines.values() for module in modules}  # parsing all takes seconds
    found = twice((name, module) for module in seen for name in types_of(module))
    assert not found, (
        f"these types have the name of another, so say in each name what it is: {shown(found)}"
    )


def test_no_two_modules_share_a_file_name() -> None:
    found = twice((each.name, each) for each in MODULES if each.name not in IN_EVERY_PACKAGE)
    assert not found, (
        f"these modules have the name of another, so say in each name what it is: {shown(found)}"
    )


def types_of(module: Path) -> set[str]:
    """Its classes, and what it gives a name of a type to."""
    tree = ast.parse(module.read_text())
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    return classes | {name for node in tree.body for name in names_set_by(node) if is_type(name)}


def names_set_by(statement: ast.stmt) -> list[str]:
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def is_type(name: str) -> bool:
    return name[0].isupper() and not name.isupper() and "_" not in name  # T_co: a variable


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
