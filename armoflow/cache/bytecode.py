"""What code does, whatever it looks like: instructions without lines, layout or names of locals.

Compiled code is read, not source: it is what runs, and travels to where there is no source. But the
compiler lets line breaks show: it leaves instructions that do nothing where a line has no other,
copies the ends of branches, turns conditions round, and joins neighbours that stand on one line. So
instructions are taken as a graph, in which jumps and what does nothing are passed over, ends that
are the same are one, and which is numbered from where it begins. Docstrings are in no instruction;
names of locals become numbers, and global names too: what they stand for is for the reader to say.
"""

from __future__ import annotations

import dis
import functools
import inspect
import marshal
import re
import types
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from armoflow.cache.walk import Walk, digest_of

_NOTHING: Final = frozenset({"NOP", "EXTENDED_ARG", "CACHE", "NOT_TAKEN", "RESUME"})
_JUMPS: Final = frozenset(
    {"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP"}
)
_ENDS: Final = frozenset({"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE"})
_GLOBAL: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ASSIGNS: Final = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "DELETE_ATTR"})
_CELL: Final = frozenset({"LOAD_CLOSURE", "LOAD_FAST", "LOAD_FAST_BORROW"})
"""What gives a variable to a nested function; a function's own use of it is another instruction."""
_UNSAID: Final = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
_READS_NAMES: Final = frozenset({"locals", "vars", "eval", "exec", "dir"})
"""With these, code may see what its locals are called."""

_TWO = re.compile(r"((?:LOAD|STORE)_FAST(?:_BORROW)?)_((?:LOAD|STORE)_FAST(?:_BORROW)?)")
_SPELLINGS = re.compile(r"_(?:FORWARD|BACKWARD|BORROW|CHECK)\b|_(?:FORWARD|BACKWARD)(?=_)")
_NEGATED: Final = {
    "POP_JUMP_IF_TRUE": "POP_JUMP_IF_FALSE",
    "POP_JUMP_IF_NOT_NONE": "POP_JUMP_IF_NONE",
}
_FLAGS: Final = (
    *(inspect.CO_VARARGS, inspect.CO_VARKEYWORDS, inspect.CO_GENERATOR, inspect.CO_COROUTINE),
    *(inspect.CO_ASYNC_GENERATOR, inspect.CO_ITERABLE_COROUTINE),
)
_JUMPING: Final = frozenset((*dis.hasjrel, *dis.hasjabs, *getattr(dis, "hasjump", ())))
_MARSHAL = 2


class CodeShape(NamedTuple):
    r"""What code does.

    Attributes:
        digest: Of all but what global names stand for.
        globals: The global names, as they are numbered in it; of nested code, too.
        free: The names of what it closes over, as they are numbered in it.
        assigned: Names to which it assigns where others may see it: of globals and attributes.
        lines: The instructions as text.
    """

    digest: bytes
    globals: tuple[str, ...]
    free: tuple[str, ...]
    assigned: frozenset[str]
    lines: tuple[str, ...]


_shapes: dict[types.CodeType, CodeShape] = {}
_REMEMBERED = 10_000


def shape_of(code: types.CodeType) -> CodeShape:
    r"""What code does.

    Example:
        >>> one = compile("def f(x):\n  'Doc.'\n  return x + 1", "a.py", "exec").co_consts[0]
        >>> two = compile("def f(y): return (y  # why\n + 1)", "b.py", "exec").co_consts[0]
        >>> shape_of(one).lines[1:] == shape_of(two).lines[1:]
        True
    """
    known = _shapes.get(code)
    if known is None:
        if len(_shapes) >= _REMEMBERED:
            _shapes.clear()
        known = _shapes[code] = _BytecodeReader(code).read()
    return known


class _Step(NamedTuple):
    """An instruction, and where it may go on."""

    name: str
    kind: str
    value: Any
    next: tuple[tuple[int, ...], ...]  # positions of the steps after it, with more of an edge


class _BytecodeReader:
    def __init__(self, code: types.CodeType) -> None:
        self._code = code
        self._by_name = not _READS_NAMES.isdisjoint(code.co_names)
        count = code.co_argcount + code.co_kwonlyargcount
        count += bool(code.co_flags & inspect.CO_VARARGS)
        count += bool(code.co_flags & inspect.CO_VARKEYWORDS)
        self._arguments = code.co_varnames[:count]
        self._locals = {name: number for number, name in enumerate(self._arguments)}
        self._globals: dict[str, int] = {}
        self._assigned: set[str] = set()
        self._own: frozenset[str] = frozenset()

    def read(self) -> CodeShape:
        code = self._code
        found = _numbered(_steps(code))
        self._own = frozenset(step.value for step in found if step.name == "STORE_NAME")
        steps = [self._token(step) for step in found]
        head = (
            code.co_name,
            code.co_argcount,
            code.co_posonlyargcount,
            code.co_kwonlyargcount,
            self._arguments,
            [bool(code.co_flags & flag) for flag in _FLAGS],
        )
        digest = digest_of(b"code", marshal.dumps((head, steps), _MARSHAL))
        lines = [f"{code.co_name}({', '.join(self._arguments)})", *map(_line, steps)]
        free = sorted(code.co_freevars, key=lambda name: self._locals.get(name, len(self._locals)))
        assigned = frozenset(self._assigned)
        return CodeShape(digest, tuple(self._globals), tuple(free), assigned, tuple(lines))

    def _token(self, step: _Step) -> tuple[Any, ...]:
        kind, value = step.kind, step.value
        if kind == "constant":
            value = self._constant(value)
        elif kind == "local":
            value = self._local(value)
        elif kind == "global":
            number = self._globals.setdefault(value, len(self._globals))
            # The body of a class sees its own names first.
            value = [number, value] if value in self._own else number
        elif step.name in _ASSIGNS:
            self._assigned.add(value)
        return step.name, kind, value, step.next

    def _local(self, name: str) -> Any:
        return name if self._by_name else self._locals.setdefault(name, len(self._locals))

    def _constant(self, value: Any) -> Any:
        if not isinstance(value, types.CodeType):
            return _constants().digest(value)
        inner = shape_of(value)
        names = [self._globals.setdefault(name, len(self._globals)) for name in inner.globals]
        self._assigned |= inner.assigned
        return inner.digest, names, [self._local(name) for name in inner.free]


@functools.cache
def _constants() -> Walk:
    from armoflow.cache.value_keys import make_walk  # whose rules for functions need this module

    return make_walk(_no_reference)


def _no_reference(value: Any) -> bytes:
    raise TypeError(f"code holds {value!r} as a constant")


def _line(token: tuple[Any, ...]) -> str:
    name, kind, value, after = token
    shown = "" if value is None else f" {kind} {value!r}"
    return f"{name}{shown}" + ("" if len(after) == 1 else f" -> {after}")


# --- the graph ----------------------------------------------------------------------------------


def _steps(code: types.CodeType) -> list[_Step]:
    """The instructions of code in the compiler's order; what does nothing only leads on."""
    instructions = list(_split(code))
    position: dict[int, int] = {}
    for at, instruction in enumerate(instructions):
        position.setdefault(instruction.offset, at)
    handlers = _handlers(code, position)
    unsaid = _unsaid(instructions)
    steps = []
    for at, instruction in enumerate(instructions):
        name = instruction.opname
        target = position[instruction.argval] if instruction.opcode in _JUMPING else None
        after: list[tuple[int, ...]] = []
        if name in _JUMPS and target is not None:
            name, after = "", [(target,)]
        elif name in _NOTHING or at in unsaid:
            name, after = "", [(at + 1,)]
        else:
            if name not in _ENDS:
                after.append((at + 1,))
            if target is not None:
                after.append((target,))
            after.extend(handlers.get(instruction.offset, ()))
        name = _SPELLINGS.sub("", name)
        if name in _NEGATED:  # the other way round
            name, after[:2] = _NEGATED[name], after[1::-1]
        kind, value = _argument(instruction, code)
        steps.append(_Step(name, kind, value, tuple(after)))
    return steps


def _split(code: types.CodeType) -> Iterator[dis.Instruction]:
    """The instructions; two that the compiler made one of are two again."""
    for instruction in dis.get_instructions(code):
        two = _TWO.fullmatch(instruction.opname)
        if two is None:
            yield instruction
            continue
        for name, value in zip(two.groups(), instruction.argval, strict=True):
            yield instruction._replace(opname=name, argval=value)


def _argument(instruction: dis.Instruction, code: types.CodeType) -> tuple[str, Any]:
    opcode, name = instruction.opcode, instruction.opname
    if opcode in dis.hasconst:
        return "constant", code.co_consts[instruction.arg or 0]
    if opcode in dis.hasname:
        return "global" if name in _GLOBAL else "name", instruction.argval
    if opcode in dis.haslocal or opcode in dis.hasfree:
        if name in _CELL and instruction.argval in (*code.co_cellvars, *code.co_freevars):
            return "closure", None  # in the order of their names: the nested code says which
        return "local", instruction.argval
    if opcode in _JUMPING:
        return "", None
    return "number", instruction.arg


def _unsaid(instructions: list[dis.Instruction]) -> set[int]:
    """Positions of those that store a class's docstring and lines."""
    found: set[int] = set()
    for at, instruction in enumerate(instructions):
        if instruction.opname == "STORE_NAME" and instruction.argval in _UNSAID and at:
            found.update((at - 1, at))
    return found


def _handlers(
    code: types.CodeType, position: dict[int, int]
) -> dict[int, list[tuple[int, int, int]]]:
    """Where an error in an instruction leads to, by its offset; before Python 3.11 steps say it."""
    found: dict[int, list[tuple[int, int, int]]] = {}
    for entry in getattr(dis.Bytecode(code), "exception_entries", ()):
        for offset in range(entry.start, entry.end, 2):
            edge = (position[entry.target], entry.depth, int(entry.lasti))
            found.setdefault(offset, []).append(edge)
    return found


def _numbered(steps: list[_Step]) -> list[_Step]:
    """The steps that can be reached, ends that are the same once, numbered from the first."""
    one = _merged(steps)
    numbers: dict[int, int] = {}
    pending = [one[_passed(steps, 0)]] if steps else []
    while pending:
        at = pending.pop()
        if at in numbers:
            continue
        numbers[at] = len(numbers)
        pending.extend(one[_passed(steps, edge[0])] for edge in reversed(steps[at].next))
    return [
        steps[at]._replace(
            next=tuple(
                (numbers[one[_passed(steps, edge[0])]], *edge[1:]) for edge in steps[at].next
            )
        )
        for at in numbers
    ]


def _merged(steps: list[_Step]) -> list[int]:
    """For each step the one that stands for it: what leads to the same end is the same."""
    one = list(range(len(steps)))
    seen: dict[Any, int] = {}
    for at in range(len(steps) - 1, -1, -1):
        step = steps[at]
        if not step.name:
            continue
        edges = [(_passed(steps, edge[0]), *edge[1:]) for edge in step.next]
        if all(edge[0] > at for edge in edges):
            value = step.value
            told = (type(value), repr(value) if step.kind == "constant" else value)
            after = tuple((one[edge[0]], *edge[1:]) for edge in edges)
            one[at] = seen.setdefault((step.name, step.kind, told, after), at)
    return one


def _passed(steps: list[_Step], at: int) -> int:
    """The first step from a position on that does something."""
    seen = set()
    while not steps[at].name and at not in seen:
        seen.add(at)
        at = steps[at].next[0][0]
    return at
