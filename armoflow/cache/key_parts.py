"""What a key was made of, as data that is kept beside a value; and how two of them differ."""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack

from armoflow.errors import EnvelopeError

_FORMAT = 1
_LONGEST = 32 * 1024
"""Characters of a text that are kept."""

_MOST = 512 * 1024
"""Characters of all texts of one callable's code; further ones are left out."""

_LEFT_OUT = "(its text is too long to be kept)"


class CodePiece(NamedTuple):
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
class CodeParts:
    """What the key of a callable's code was made of: the same for all calls of it.

    Attributes:
        digest: The code's key.
        pieces: Functions, classes, globals and modules of the user's own, by name.
        packages: Installed packages that these use, as ``name version``.
        kept: Whether these are known: else, it is only the key.
    """

    digest: bytes
    pieces: Mapping[str, CodePiece] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    kept: bool = True

    def encode(self) -> bytes:
        """As data, compressed; long texts are left out.

        Example:
            >>> pieces = {"function m:f": CodePiece(b"2", "def f(): ...")}
            >>> code = CodeParts(b"1", pieces, ("numpy 2",))
            >>> decode_code(code.encode()) == code
            True
        """
        pieces = {}
        left = _MOST
        for name, (digest, text) in self.pieces.items():
            fits = len(text) <= min(_LONGEST, left)
            left -= len(text) if fits else 0
            pieces[name] = [digest, text if fits else _LEFT_OUT]
        return zlib.compress(_pack([_FORMAT, self.digest, pieces, list(self.packages)]), 1)


def decode_code(data: bytes | memoryview) -> CodeParts:
    """Read it back.

    Raises:
        EnvelopeError: If it is something else.
    """
    try:
        unpacked = zlib.decompress(data)
    except zlib.error as error:
        raise EnvelopeError(f"stored data is not the parts of code: {error}") from error
    digest, pieces, packages = _unpack(unpacked, 3)
    with _reading():
        told = {name: CodePiece(*piece) for name, piece in pieces.items()}
        return CodeParts(digest, told, tuple(packages))


@dataclass(frozen=True, slots=True)
class KeyParts:
    """What the key of one value was made of.

    Attributes:
        task: Module and qualified name of the function.
        operation: ``call``, ``reduce`` and so on.
        version: What stands for the code, if something does.
        code: The code, if it is part of the key.
        arguments: By name.
        environment: By name.
    """

    task: str
    operation: str
    version: str | None
    code: CodeParts | None
    arguments: Mapping[str, Argument]
    environment: Mapping[str, str]

    def encode(self) -> bytes:
        """As data; of the code the key only, since many values have the same.

        Example:
            >>> parts = KeyParts("m:f", "call", "2", None, {"x": Argument(b"1", "5")}, {})
            >>> decode_parts(parts.encode()) == parts
            True
        """
        code = None if self.code is None else self.code.digest
        arguments = {name: list(argument) for name, argument in self.arguments.items()}
        fields = [self.task, self.operation, self.version, code, arguments]
        return _pack([_FORMAT, *fields, dict(self.environment)])


def decode_parts(
    data: bytes | memoryview, code_of: Callable[[bytes], CodeParts | None] = lambda digest: None
) -> KeyParts:
    """Read them back.

    Args:
        data: What was encoded.
        code_of: Finds code by its key, where it was kept.

    Raises:
        EnvelopeError: If they are something else.
    """
    task, operation, version, digest, arguments, environment = _unpack(data, 6)
    code = None if digest is None else code_of(digest) or CodeParts(digest, kept=False)
    with _reading():
        told = {name: Argument(*argument) for name, argument in arguments.items()}
        return KeyParts(task, operation, version, code, told, dict(environment))


def _pack(fields: list[Any]) -> bytes:
    # What is shown of a value may have what cannot be written.
    data: bytes = msgpack.packb(fields, use_bin_type=True, unicode_errors="replace")
    return data


@contextmanager
def _reading() -> Iterator[None]:
    """What is something else is told as such."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise EnvelopeError(f"stored data is not the parts of a key: {error}") from error


def _unpack(data: bytes | memoryview, count: int) -> list[Any]:
    with _reading():
        form, *fields = list(msgpack.unpackb(data))
    if form != _FORMAT or len(fields) != count:
        raise EnvelopeError(
            f"parts of a key have format {form!r} and {len(fields)} fields: this armoflow reads "
            f"format {_FORMAT} with {count}"
        )
    return fields


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
        >>> old = KeyParts("m:f", "call", "1", None, {"x": Argument(b"1", "5")}, {})
        >>> new = KeyParts("m:f", "call", "2", None, {"x": Argument(b"2", "6")}, {})
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
    elif old.code is not None and new.code is not None and old.code.digest != new.code.digest:
        yield from _code_differences(new.task, old.code, new.code)
    elif (old.code is None) != (new.code is None):
        yield Difference("code", new.task, "only one of the keys has it")
    yield from _named("argument", old.arguments, new.arguments)
    yield from _named("environment", old.environment, new.environment)


def _code_differences(task: str, old: CodeParts, new: CodeParts) -> Iterator[Difference]:
    if not (old.kept and new.kept):
        yield Difference("code", task, "it is other code; what it was is not kept")
        return
    found = [*_piece_differences(old, new)]
    found += _named("package", _versions(old.packages), _versions(new.packages))
    yield from found or [Difference("code", task, "what it is bound to is another")]


def _piece_differences(old: CodeParts, new: CodeParts) -> Iterator[Difference]:
    for name in sorted(old.pieces.keys() | new.pieces.keys()):
        before, after = old.pieces.get(name), new.pieces.get(name)
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
