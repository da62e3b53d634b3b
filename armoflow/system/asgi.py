"""What servers give to applications that speak ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

AsgiScope: TypeAlias = "MutableMapping[str, Any]"
"""A request, without its body."""

AsgiReceive: TypeAlias = "Callable[[], Awaitable[MutableMapping[str, Any]]]"
"""Gives the next part of its body, or says that it is over."""

AsgiSend: TypeAlias = "Callable[[MutableMapping[str, Any]], Awaitable[None]]"
"""Takes the next part of the answer."""
