"""A browser for tests and pictures: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
"""Where it is; None if it is not here."""


@contextmanager
def browser() -> Iterator[Any]:
    """One that runs meanwhile."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.getuid() == 0 else []  # root has none
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield running
        finally:
            running.close()


@contextmanager
def site(directory: Path) -> Iterator[str]:
    """Serves a directory; the origin of its pages."""

    class Files(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Files, directory=str(directory))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def browse(url: str) -> str:
    """What a page tells when its script is done."""
    with browser() as chromium:
        page = chromium.new_page()
        page.goto(url)
        page.wait_for_selector("#told.done", state="attached", timeout=100_000)
        told: str = page.text_content("#told")
        return told
