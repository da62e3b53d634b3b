"""Values that cannot be read back: which one, of which type, and why."""

from __future__ import annotations

from collections.abc import Iterator

from armoflow.codec.bare import is_a
from armoflow.codec.traces import message_of, type_name
from armoflow.errors import SerializationError

_LOOKED_AT = 64 * 1024  # bytes of a pickle that are searched for the type of its value
_MACHINERY = {"builtins", "copyreg", "cloudpickle", "armoflow", "_codecs", "types"}
_RECALLS = ("BINGET", "LONG_BINGET", "GET")
_PICKLE = b"\x80\x05"


def unreadable(
    what: str, data: bytes | memoryview, error: BaseException, why: str = ""
) -> SerializationError:
    """The error to raise for a value whose pickle cannot be loaded.

    Args:
        what: Names the value and its task.
        data: The pickle.
        error: What loading it raised: a missing module, a class that differs, the value's own code.
        why: What else is known about it.

    Example:
        >>> import fractions, pickle
        >>> data = pickle.dumps(fractions.Fraction(1, 3))
        >>> print(unreadable("the value of task 'f'", data, TypeError("no")))
        the value of task 'f', of fractions.Fraction, cannot be read back: TypeError: no
    """
    kind = type_in(data)
    of = f", of {kind}," if kind else ""
    raised = f"{type_name(error).rpartition('.')[2]}: {message_of(error)}".rstrip(": ")
    if why:
        raised += f"; {why}"
    elif is_a(error, ModuleNotFoundError):  # as where only the task's requirements have it
        raised += ". Install it where the value is read, too, or return one of other types"
    told = SerializationError(f"{what}{of} cannot be read back: {raised}")
    told.__cause__ = error
    return told


def type_in(data: bytes | memoryview) -> str:
    """The first class or function that a pickle names, which is mostly its value's type.

    Nothing is loaded for that.

    Example:
        >>> import fractions, pickle
        >>> type_in(pickle.dumps([1, fractions.Fraction(1, 3)])), type_in(pickle.dumps([1]))
        ('fractions.Fraction', '')
    """
    return next(_named(bytes(data[:_LOOKED_AT])), "")


def _named(data: bytes) -> Iterator[str]:
    """The classes and functions that a pickle names, in order; of those by value the bare name."""
    import pickletools  # large, and seldom needed

    pushed: list[object] = []  # what the last opcodes have pushed, as far as that is a text
    kept: dict[int, object] = {}
    by_value = 0  # opcodes for a class: its maker, its metaclass, its name
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "MEMOIZE":
                kept[len(kept)] = pushed[-1] if pushed else None
                continue
            if opcode.name in ("GLOBAL", "STACK_GLOBAL"):
                module, name = str(argument or "").split(" ", 1) if argument else pushed[-2:]
                pushed.append(None)
                if by_value == 1:
                    by_value = 2
                elif name == "_make_skeleton_class":
                    by_value = 1
                elif str(module).partition(".")[0] not in _MACHINERY:
                    yield f"{module}.{name}"
                continue
            recalled = kept.get(argument) if isinstance(argument, int) else None
            pushed.append(recalled if opcode.name in _RECALLS else argument)
            if by_value == 2 and isinstance(argument, str):
                yield argument
                by_value = 0
            elif isinstance(argument, bytes) and argument.startswith(_PICKLE):
                yield from _named(argument)
    except ValueError:  # it is longer than what is looked at, or no pickle
        return
