"""Iterators of a returned graph, which are read once: here, or by the plan of what is left."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from armoflow import config
from armoflow.graph.nodes import SourceNode


class Taken:
    """An iterator that was read as far as it is short; a plan goes on with it.

    Attributes:
        all: Its items; None if there are more, or it has raised.
    """

    def __init__(self, node: SourceNode) -> None:
        self.all: Sequence[Any] | None = None
        self._node = node
        self._read: list[Any] = []
        self._rest: Iterator[Any] = iter(())
        try:
            self._rest = node.open()
            for item in itertools.islice(self._rest, config.INLINE_ITEMS + 1):
                self._read.append(item)
            if len(self._read) <= config.INLINE_ITEMS:
                self.all = self._read
        except BaseException as error:
            self._rest = _raise(error)

    def __iter__(self) -> Iterator[Any]:
        if self.all is not None:
            return iter(self.all)
        read, self._read = self._read, []
        if not read:
            return self._node.open()  # which says that it was read before
        return itertools.chain(read, self._rest)


def _raise(error: BaseException) -> Iterator[Any]:
    raise error
    yield
