"""Seals: who holds a session's key can tell what the session's own tasks wrote from other bytes.

A client makes a key, and its payloads take it to the tasks; nothing else holds it, and it stands in
no error. A seal is an HMAC with that key. It is asked for wherever stored data is to become code
that may have come another way than from a result of the client's own session.
"""

from __future__ import annotations

import os

KEY_BYTES = 32
SEAL_BYTES = 16

_CONTEXT = b"armoflow error record\0"


def new_key() -> bytes:
    """A random key for the tasks of one client."""
    return os.urandom(KEY_BYTES)


def seal(key: bytes, data: bytes | memoryview) -> bytes:
    """The seal of some bytes.

    Example:
        >>> holds(b"key", b"data", seal(b"key", b"data")), holds(b"key", b"more", b"?" * 16)
        (True, False)
    """
    import hmac  # where an error is met, not before

    return hmac.digest(key, _CONTEXT + data, "sha256")[:SEAL_BYTES]


def holds(key: bytes, data: bytes | memoryview, tag: bytes | memoryview) -> bool:
    """Whether a seal was made with this key for these bytes; without a key none holds."""
    import hmac

    return bool(key) and hmac.compare_digest(seal(key, data), bytes(tag))
