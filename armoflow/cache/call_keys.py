"""The keys of calls, made of what is called and of the keys of the arguments by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from armoflow.cache.bound import Bound, bound_to
from armoflow.cache.code import CodeKey
from armoflow.cache.fingerprints import Fingerprints, placed
from armoflow.cache.walk import (
    NoKey,
    Parts,
    RuleResult,
    atom_digest,
    digest_of,
    is_atom,
    text_digest,
)
from armoflow.graph.nodes import Node
from armoflow.policies import CachePolicy

if TYPE_CHECKING:
    from armoflow.graph.base_task import BaseTask

    AnyTask: TypeAlias = BaseTask[..., Any]


class Parameters(NamedTuple):
    """What a function takes.

    Attributes:
        by_position: Names of those that may be given by position.
        by_name: Of those that may be given by name.
        rest: What takes further positional arguments, if something does.
        others: What takes further named ones.
    """

    by_position: tuple[str, ...] = ()
    by_name: frozenset[str] = frozenset()
    rest: str = ""
    others: str = ""


class Called(NamedTuple):
    """What is called, as far as keys are concerned.

    Attributes:
        name: Module and qualified name of the function.
        head: The digest of all that is not an argument.
        code: The code's key; None if it is not part of it.
        version: What stands for the code.
        environment: What is said of where it runs.
        takes: Its parameters.
        policy: What it is known by.
    """

    name: str
    head: bytes
    code: CodeKey | None
    version: str | None
    environment: Mapping[str, str]
    takes: Parameters
    policy: CachePolicy

    def names(self, count: int, keywords: Iterable[str] = ()) -> list[str]:
        """What the arguments of a call are called: the positional ones, then the others.

        By their parameters; ``*3`` and ``**name`` are those that go to ``*args`` and ``**kwargs``.
        """
        by_position, by_name, *_ = self.takes
        rest = (f"*{at}" for at in range(len(by_position), count))
        others = (name if name in by_name else f"**{name}" for name in keywords)
        return [*by_position[:count], *rest, *others]

    def counts(self, name: str) -> bool:
        """Whether an argument is part of the key."""
        ignore = self.policy.ignore
        if "inputs" not in self.policy.keyed:
            return False
        if name.startswith("**"):
            return ignore.isdisjoint((name[2:], self.takes.others))
        return (self.takes.rest if name.startswith("*") else name) not in ignore

    def key(self, arguments: Mapping[str, bytes]) -> bytes:
        """The key of a call, whatever order its arguments are given in."""
        pieces = [_name_digest(name) + arguments[name] for name in sorted(arguments)]
        return digest_of(b"call", self.head, *pieces)

    def key_rows(
        self, names: Sequence[str], rows: Iterable[Sequence[bytes]], fixed: Mapping[str, bytes]
    ) -> Iterator[bytes]:
        """The keys of many calls, as :meth:`key` makes them.

        Args:
            names: What the arguments in a row are called.
            rows: Digests of these, for each call.
            fixed: Digests of those that are the same for all, which are part of the key.
        """
        columns = {name: column for column, name in enumerate(names) if self.counts(name)}
        pieces = [b"call", self.head]
        places: list[tuple[int, int]] = []  # where in the pieces a column's digest goes
        for name in sorted([*columns, *fixed]):
            if name in columns:
                places.append((len(pieces) + 1, columns[name]))
            pieces.extend((_name_digest(name), fixed.get(name, b"")))
        for row in rows:
            for place, column in places:
                pieces[place] = row[column]
            yield digest_of(*pieces)


@functools.lru_cache(maxsize=4096)
def _name_digest(name: str) -> bytes:
    return text_digest("argument", name)


class CallKeys:
    """Says what is called, once for each task and policy.

    Args:
        values: Makes the keys of code.
        environment: What keys say of where code runs.
    """

    def __init__(self, values: Fingerprints, environment: Mapping[str, str]) -> None:
        self._values = values
        self._environment = environment
        self._called: dict[tuple[int, CachePolicy], tuple[AnyTask, Called]] = {}

    def of(self, task: AnyTask, policy: CachePolicy) -> Called:
        """What a task is, by its policy."""
        known = self._called.get((id(task), policy))
        if known is None:
            known = self._called[id(task), policy] = task, self._make(task, policy)
        return known[1]

    def _make(self, task: AnyTask, policy: CachePolicy) -> Called:
        parts = policy.keyed
        bound = bound_to(task.function, task.name)
        version, code = policy.version, None
        if version is not None:
            told = self._values.of(Parts("version", [bound.name, version, *self._data(bound)]))
        elif "code" in parts:
            code = self._values.of_code(task.function)
            told = code.digest
        else:
            told = self._values.of(Parts("name", [bound.name, *self._data(bound)]))
        environment = (
            {**self._environment, **dict(policy.declared)} if "environment" in parts else {}
        )
        said = [text for item in sorted(environment.items()) for text in item]
        head = digest_of(told, text_digest("environment", str(task.outputs), *said))
        return Called(bound.name, head, code, version, environment, _takes(task), policy)

    def _data(self, bound: Bound) -> Iterator[Any]:
        yield from bound.given
        for number, value in enumerate(bound.kept):
            with suppress(NoKey):
                yield number, self._values.of(value)


def _takes(task: AnyTask) -> Parameters:
    try:
        parameters = signature(task.function).parameters.values()
    except (TypeError, ValueError):  # some built-in functions have none
        return Parameters()

    def named(*kinds: Any) -> Iterator[str]:
        return (parameter.name for parameter in parameters if parameter.kind in kinds)

    return Parameters(
        tuple(named(Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)),
        frozenset(named(Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)),
        next(named(Parameter.VAR_POSITIONAL), ""),
        next(named(Parameter.VAR_KEYWORD), ""),
    )


class Arguments:
    """The digests of what calls and collection operations are given.

    Args:
        policy_of: Says what holds for a node.
        environment: What keys say of where code runs.
        rules: What values of some types are made of: lazy ones, and references.
    """

    def __init__(
        self,
        policy_of: Callable[[Node], CachePolicy],
        environment: Mapping[str, str],
        rules: Mapping[type, Callable[[Any], RuleResult]],
    ) -> None:
        self.values = Fingerprints(rules)
        self.policy_of = policy_of
        self._calls = CallKeys(self.values, environment)
        self._shared: dict[int, tuple[Any, bytes]] = {}  # arguments that several calls may have

    def called(self, node: Any) -> Called:
        """What a node calls."""
        return self._calls.of(node.task, self.policy_of(node))

    def of(
        self, called: Called, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, bytes]:
        """The digests of arguments that are part of the key, by name.

        Raises:
            NoKey: If one has none; says which.
        """
        names = called.names(len(args), kwargs)
        values = (*args, *kwargs.values())
        return {
            name: self.one(name, value)
            for name, value in zip(names, values, strict=True)
            if called.counts(name)
        }

    def one(self, name: str, value: Any) -> bytes:
        """The digest of one argument.

        Raises:
            NoKey: If it has none; says which.
        """
        if is_atom(value):
            return atom_digest(value)
        known = self._shared.get(id(value))
        if known is None:
            try:
                known = self._shared[id(value)] = value, self.values.of(value)
            except NoKey as error:
                raise NoKey(f"argument {name!r}{placed(error)}") from error.__cause__
        return known[1]
