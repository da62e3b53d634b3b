"""The client of ``x.compute()`` where no client is entered: one for the process, kept."""

from __future__ import annotations

import os
import threading

from armoflow.client.client import Client


class DefaultClient:
    """Starts a client when it is first needed, and again after it was closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Client | None = None

    def get(self) -> Client:
        """The one client; whoever comes while it starts waits for it."""
        client = self._client
        if client is None or client.closed:
            with self._lock:
                client = self._client
                if client is None or client.closed:
                    client = self._client = Client()
        return client

    def forget(self) -> None:
        """Forked: the client is the parent's, and so was whoever held the lock."""
        self._lock = threading.Lock()
        self._client = None


DEFAULT = DefaultClient()
os.register_at_fork(after_in_child=DEFAULT.forget)


def default_client() -> Client:
    """The client of the process."""
    return DEFAULT.get()
