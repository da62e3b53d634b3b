"""Code that does the same has the same shape, however it is laid out."""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import inspect
import textwrap
import types
from collections.abc import Iterator

import pytest

from armoflow.cache.bytecode import CodeShape, shape_of


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from codes(constant)


def functions(text: str) -> list[types.CodeType]:
    return list(codes(compile(text, "a.py", "exec", dont_inherit=True)))


@pytest.mark.parametrize("module", [textwrap, contextlib, dataclasses, argparse])
def test_layout_and_comments_change_no_function(module: types.ModuleType) -> None:
    text = inspect.getsource(module)
    ones, others = functions(text), functions(ast.unparse(ast.parse(text)))
    assert len(ones) == len(others) > 10
    assert [one.co_name for one in ones if shape_of(one) not in map(shape_of, others)] == []


def shape(body: str, head: str = "def f(x, y):") -> CodeShape:
    text = f"{head}\n{textwrap.indent(textwrap.dedent(body), '    ')}"
    return shape_of(functions(text)[0])


BODY = """
for i in x:
    if i > 2 and y:
        continue
    try:
        y = g(i, key=3)
    except ValueError as error:
        return error
    with open(y) as file:
        y = [line for line in file if line]
return {y: i}
"""

CHANGES = {
    "i > 2": "i >= 2",
    "and y": "or y",
    "continue": "break",
    "g(i, key=3)": "h(i, kez=3)",
    "key=3": "key=3.0",
    "return error": "return i",
    "if line": "if not line",
    "{y: i}": "{i: y}",
    "for i in x": "for i in y",
}


def test_what_code_does_is_its_shape() -> None:
    shapes = {shape(BODY.replace(old, new)).digest for old, new in CHANGES.items()}
    assert len(shapes) == len(CHANGES)
    assert shape(BODY).digest not in shapes
    heads = [
        "def f(x, y=1):",
        "def f(y, x):",
        "def f(x, *, y):",
        "def f(x, /, y):",
        "def f(x, *y):",
    ]
    told = {
        shape("return 1", head).digest for head in [*heads, "def g(x, y):", "async def f(x, y):"]
    }
    assert len(told) == len(heads) + 2  # a default is no part of the code


def test_names_of_locals_count_only_where_code_may_see_them() -> None:
    assert shape("z = x\nreturn z").digest == shape("w = x\nreturn w").digest
    assert shape("z = x\nreturn locals()").digest != shape("w = x\nreturn locals()").digest


def test_global_names_are_told_apart_but_not_told() -> None:
    assert shape("return a(b)").digest == shape("return c(d)").digest != shape("return a(a)").digest
    assert shape("return lambda: a(b)").globals == ("a", "b")


def test_what_a_class_in_a_function_takes_from_outside_is_told() -> None:
    assert shape("class C:\n    limit = limit\nreturn C").globals[-1] == "limit"


def test_docstrings_are_no_part_of_classes_in_functions() -> None:
    one = shape("class C:\n    'Doc.'\n    a = 1\nreturn C")
    assert one.digest == shape("class C:\n\n    'Other.'\n    a = 1\nreturn C").digest
    assert one.digest != shape("class C:\n    'Doc.'\n    a = 2\nreturn C").digest
