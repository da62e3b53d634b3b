"""Data that many tasks of a plan need, and that goes up once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from armoflow.content import DataPart, FileContent


class Constant:
    """Data that goes up once and is fetched by the workers that miss it: code, ``put`` values.

    Tasks that need it hold it until they have ended, as whoever may need it again does; when the
    last of them lets go, ``on_release`` is called with the result's id and the size.

    Attributes:
        name: What it is called.
        parts: The data, until it is stored.
        size: Its bytes.
        held: Those of them that are in memory until it is stored.
        result_id: Where it is stored.
        session_id: In which session; empty: in the client's own.
        error: Why it could not be stored.
        on_release: See above.
        on_stored: Called with it once it is stored.
    """

    __slots__ = (
        *("__weakref__", "error", "held", "name", "on_release", "on_stored", "parts"),
        *("result_id", "session_id", "size"),
    )

    def __init__(self, name: str, parts: Sequence[DataPart]) -> None:
        self.name = name
        self.parts: Sequence[DataPart] | None = parts
        self.held = sum(len(part) for part in parts if not isinstance(part, FileContent))
        self.size = sum(len(part) for part in parts)
        self.result_id = self.session_id = ""
        self.error: BaseException | None = None
        self.on_release: Callable[[str, int], None] | None = None
        self.on_stored: Callable[[Constant], None] | None = None

    def __del__(self) -> None:
        if self.on_release is not None and self.result_id:
            self.on_release(self.result_id, self.size)

    def stored_as(self, result_id: str, on_release: Callable[[str, int], None]) -> None:
        """It is stored now."""
        self.result_id, self.on_release = result_id, on_release
        self.parts = None
        if self.on_stored is not None:
            self.on_stored(self)
            self.on_stored = None

    @classmethod
    def stored(cls, name: str, result_id: str, session_id: str = "") -> Constant:
        """A constant that is stored already, by somebody else."""
        constant = cls(name, ())
        constant.session_id = session_id
        constant.parts = None
        constant.result_id = result_id
        return constant
