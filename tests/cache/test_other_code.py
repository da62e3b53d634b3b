"""Code that gives another value has another key, however much it looks like what it was."""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

from armoflow.cache import key_of
from armoflow.cache.code import code_key


def load(text: str) -> Callable[..., Any]:
    """The function f of a script."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(dedent(text), "a.py", "exec", dont_inherit=True), scope)
    function: Callable[..., Any] = scope["f"]
    return function


EDITS = {
    "what a lambda closes over": ("f = (lambda a, b: lambda: a - b)(1, 2)", "a - b", "b - a"),
    "a nested function": ("def f(): a, b = 1, 2; return (lambda: a - b)()", "a - b", "b - a"),
    "a comprehension": (
        "def f(): a, b = 1, 2; return [a - b for _ in range(2)]",
        "a - b",
        "b - a",
    ),
    "two nested functions": (
        """
        def f():
            a, b = 1, 2
            def g(): return a
            def h(): return b
            return g(), h()
        """,
        "return g(), h()",
        "return h(), g()",
    ),
    "which variable a nested function sets": (
        """
        def f():
            a, b = 1, 2
            def g():
                nonlocal a
                a = 5
            g()
            return a, b
        """,
        "nonlocal a\n                a = 5",
        "nonlocal b\n                b = 5",
    ),
    "a name of a class's body": (
        """
        x = y = 5
        def f():
            class C:
                x = 1
                y = 2
                z = x
            return C.z
        """,
        "z = x",
        "z = y",
    ),
    "a global that is assigned": (
        """
        A = B = None
        def f():
            global A
            A = 3
            return A
        """,
        "return A",
        "return B",
    ),
    "a global that another function assigns": (
        """
        A = B = None
        def g():
            return A
        def f():
            global A
            A = 3
            return g()
        """,
        "return A",
        "return B",
    ),
    "a function and a value in each other's place": (
        "H = 3\ndef g(): pass\ndef f(): return [H, callable(g)]",
        "[H, callable(g)]",
        "[g, callable(H)]",
    ),
    "how a pattern takes instances apart": (
        """
        class P:
            __match_args__ = ("x", "y")
            x, y = 1, 2
        def f():
            match P():
                case P(a, b):
                    return a
        """,
        '("x", "y")',
        '("y", "x")',
    ),
    "who is told to be a subclass": (
        """
        import abc
        class P(abc.ABC):
            @classmethod
            def __subclasshook__(cls, other): return True
        def f(): return isinstance(1, P)
        """,
        "return True",
        "return False",
    ),
    "who was registered": (
        """
        import abc
        class P(abc.ABC): pass
        P.register(int)
        def f(): return isinstance(1, P)
        """,
        "P.register(int)",
        "P.register(str)",
    ),
    "the parameters of a generic base": (
        """
        import typing
        T = typing.TypeVar("T")
        class Base(typing.Generic[T]): pass
        class P(Base[int]): pass
        def f(): return typing.get_args(P.__orig_bases__[0])[0].__name__
        """,
        "Base[int]",
        "Base[str]",
    ),
    "how many outputs a task has that it calls": (
        """
        from armoflow import task
        @task(outputs=2)
        def g(): return 1, 2
        def f(): return len(g())
        """,
        "outputs=2",
        "outputs=3",
    ),
    "variables of a task that it calls": (
        """
        from armoflow import task
        @task(env={"MODE": "a"})
        def g(): ...
        def f(): return dict(g.task_options.env)
        """,
        '"a"',
        '"b"',
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_that_changes_the_value_changes_the_key(name: str) -> None:
    text, old, new = EDITS[name]
    assert old in text
    one, other = load(text), load(text.replace(old, new))
    assert repr(one()) != repr(other())
    assert code_key(one).digest != code_key(other).digest


def test_the_type_of_an_array_of_arrays_is_told() -> None:
    numpy = pytest.importorskip("numpy")
    assert key_of(numpy.dtype(("i4", (2,)))) != key_of(numpy.dtype(("f4", (2,))))


# --- edits by chance --------------------------------------------------------------------------

PROGRAM = """
G = H = 3
L, M = [1, 2], [1, 2]
def helper(p, q=2): return p * 10 + q
def other(p, q=2): return p * 10 - q
def f(a, b, c=5):
    global G
    d = a + 1
    e = b - 1
    def inner(x, y=d):
        nonlocal e
        e = e + x
        return lambda z: (x - y) * e + z - a
    class C:
        u = a
        v = b
        w = u
        def m(self, k): return self.u * k - d
    G = d
    try:
        t = [i * d - j for i in range(a) for j in range(b) if i > e or j < d]
        u = {i: (lambda: i - c)() for i in (a, b)}
    except ZeroDivisionError as err:
        t, u = [c], {}
    for i, j in enumerate(t):
        if i > 3 and j:
            break
        elif j < d:
            continue
        e += i
    else:
        e -= 1
    r = helper(a, q=b) if a > b else other(b)
    return t, u, inner(a)(b), e, d, C().m(c), C.w, G, H, r, sum(L) - len(M), f"{a}{b!r:>3}"
"""
INPUTS = [(1, 2), (2, 1), (3, 0), (0, 0), (4, 6), (-1, 3)]
OPERATORS = [ast.Add, ast.Sub, ast.Mult, ast.FloorDiv]
COMPARISONS = [ast.Lt, ast.Gt, ast.LtE, ast.Eq]
SMALL = [0, 1, 2, 3, 5, True, 1.0, -0.0]


def edited(tree: ast.Module, chance: random.Random) -> ast.Module:
    tree = copy.deepcopy(tree)
    nodes = list(ast.walk(tree))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    kinds = (ast.Name, ast.Constant, ast.BinOp, ast.Compare, ast.arg, ast.Global, ast.Nonlocal)
    node = chance.choice([node for node in nodes if isinstance(node, kinds)])
    if isinstance(node, ast.Name):
        with_ = chance.choice(names)
        node.id, with_.id = with_.id, node.id if chance.random() < 0.5 else with_.id
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        node.value = chance.choice(SMALL)
    elif isinstance(node, ast.BinOp):
        node.left, node.right = node.right, node.left
        node.op = chance.choice([type(node.op), *OPERATORS])()
    elif isinstance(node, ast.Compare):
        node.ops[0] = chance.choice(COMPARISONS)()
    elif isinstance(node, ast.arg):
        node.arg = chance.choice("abcdexyz")
    elif isinstance(node, (ast.Global, ast.Nonlocal)):
        node.names = [chance.choice("deGH")]
    return ast.fix_missing_locations(tree)


def values(tree: ast.Module) -> list[str]:
    def value(arguments: tuple[int, int]) -> str:
        try:
            return repr(load(ast.unparse(tree))(*arguments))
        except Exception as error:
            return type(error).__name__

    return list(map(value, INPUTS))


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_programs_of_one_key_have_the_same_values() -> None:
    chance = random.Random(1)
    base = ast.parse(PROGRAM)
    seen: dict[bytes, ast.Module] = {}
    for _ in range(120):
        tree = edited(base, chance)
        if chance.random() < 0.5:
            tree = edited(tree, chance)
        try:
            key = code_key(load(ast.unparse(tree))).digest
        except (SyntaxError, NameError, TypeError):
            continue
        known = seen.setdefault(key, tree)
        if ast.unparse(known) != ast.unparse(tree):
            assert values(known) == values(tree), ast.unparse(tree)
    assert len(seen) > 60
