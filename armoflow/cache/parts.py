"""What a key was made of, as data that is kept beside a value; and how two of them differ."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgpack

from armoflow.errors import EnvelopeError

_FORMAT = 1


class Piece(NamedTuple):
    """A function, class, global or module of the user's own.

    Attributes:
        digest: Of what it says itself.
        text: The same to be shown: source, instructions, or a value.
    """

    digest: bytes
    text: str


class Argument(NamedTuple):
    """An argument of a call, or an input of a collection operation.

    Attributes:
        digest: Its key.
        text: The same to be shown: a value, its type, or who makes it.
    """

    digest: bytes
    text: str


@dataclass(frozen=True, slots=True)
class KeyParts:
    """What the key of one value was made of.

    Attributes:
        task: Module and qualified name of the function.
        operation: ``call``, ``reduce`` and so on.
        version: What stands for the code, if something does.
        code: Functions, classes and globals of the user's own, by name; empty if a version does.
        packages: Installed packages that these use, with their versions.
        arguments: By name.
        environment: By name.
    """

    task: str
    operation: str
    version: str | None
    code: Mapping[str, Piece]
    packages: tuple[str, ...]
    arguments: Mapping[str, Argument]
    environment: Mapping[str, str]

    def encode(self) -> bytes:
        """As data.

        Example:
            >>> parts = KeyParts("m:f", "call", "2", {}, (), {"x": Argument(b"1", "5")}, {})
            >>> decode_parts(parts.encode()) == parts
            True
        """
        code = {name: list(piece) for name, piece in self.code.items()}
        arguments = {name: list(argument) for name, argument in self.arguments.items()}
        data: bytes = msgpack.packb(
            [
                *(_FORMAT, self.task, self.operation, self.version, code, list(self.packages)),
                *(arguments, dict(self.environment)),
            ],
            use_bin_type=True,
        )
        return data


def decode_parts(data: bytes | memoryview) -> KeyParts:
    """Read them back.

    Raises:
        EnvelopeError: If they are something else.
    """
    try:
        form, task, operation, version, code, packages, arguments, environment = msgpack.unpackb(
            data
        )
        if form != _FORMAT:
            raise EnvelopeError(
                f"parts of a key have format {form!r}, this armoflow reads {_FORMAT}"
            )
        return KeyParts(
            task,
            operation,
            version,
            {name: Piece(*piece) for name, piece in code.items()},
            tuple(packages),
            {name: Argument(*argument) for name, argument in arguments.items()},
            dict(environment),
        )
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise EnvelopeError(f"stored data is not the parts of a key: {error}") from error


class Difference(NamedTuple):
    """One way in which a key is not what it was.

    Attributes:
        kind: ``code``, ``package``, ``version``, ``argument``, ``environment`` or ``operation``;
            ``new`` where there is nothing to compare with.
        name: Which function, package, argument and so on.
        text: What was and what is: of code, a unified diff.
    """

    kind: str
    name: str
    text: str


def differences(old: KeyParts | None, new: KeyParts) -> list[Difference]:
    """How two keys differ, what is most telling first; nothing if they do not.

    Args:
        old: What an earlier key was made of; None: there is none.
        new: What the key is made of now.

    Example:
        >>> old = KeyParts("m:f", "call", "1", {}, (), {"x": Argument(b"1", "5")}, {})
        >>> new = KeyParts("m:f", "call", "2", {}, (), {"x": Argument(b"2", "6")}, {})
        >>> for difference in differences(old, new):
        ...     print(*difference)
        version m:f 1 -> 2
        argument x 5 -> 6
    """
    if old is None:
        return [Difference("new", new.task, "it was never computed")]
    return list(_differences(old, new))


def _differences(old: KeyParts, new: KeyParts) -> Iterator[Difference]:
    if (old.task, old.operation) != (new.task, new.operation):
        was, now = f"{old.operation} of {old.task}", f"{new.operation} of {new.task}"
        yield Difference("operation", new.task, f"{was} -> {now}")
    if old.version != new.version:
        yield Difference("version", new.task, _change(old.version, new.version))
    elif new.version is None:
        yield from _code_differences(old.code, new.code)
        yield from _named("package", _versions(old.packages), _versions(new.packages))
    yield from _named("argument", old.arguments, new.arguments)
    yield from _named("environment", old.environment, new.environment)


def _code_differences(old: Mapping[str, Piece], new: Mapping[str, Piece]) -> Iterator[Difference]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            yield Difference("code", name, "used now" if before is None else "not used any more")
        elif before.digest != after.digest:
            yield Difference("code", name, _diff(before.text, after.text))


def _diff(before: str, after: str) -> str:
    if before.count("\n") + after.count("\n") == 0:
        return _change(before, after)
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), "before", "now", lineterm="", n=2
    )
    return "\n".join(lines) or "its text is the same: a value in it is another"


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return dict(package.rsplit(" ", 1) for package in packages)


def _named(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Argument) and isinstance(after, Argument):
            if before.digest != after.digest:
                yield Difference(kind, name, _change(before.text, after.text))
        elif before != after:
            texts = (getattr(part, "text", part) for part in (before, after))
            yield Difference(kind, name, _change(*texts))


def _change(before: Any, after: Any) -> str:
    if before == after:
        return f"another {after}"
    return f"{'nothing' if before is None else before} -> {'nothing' if after is None else after}"
