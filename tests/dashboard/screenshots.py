"""Makes the pictures of the dashboard and of a report that the documentation shows.

python -m tests.dashboard.screenshots [DIRECTORY]
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from armoflow import Client, task
from tests.cli.test_up import started
from tests.dashboard.browser import browser

SIZE = {"width": 1160, "height": 800}
PARTS = 240


def take_a_while(seconds: float) -> None:
    """As work does: about so long."""
    time.sleep(seconds * random.uniform(0.5, 1.5))


@task(batch_size=1, fuse=False)
def load(part: int) -> int:
    take_a_while(0.02)
    return part


@task(batch_size=1, fuse=False)
def clean(part: int) -> int:
    take_a_while(0.015)
    if part % 37 == 9:
        raise ValueError(f"part {part} has no header")
    return part


@task(batch_size=1, fuse=False)
def train(part: int, depth: int) -> int:
    take_a_while(0.06)
    return part * depth


@task(fuse=False)
def better(a: int, b: int) -> int:
    take_a_while(0.004)
    return max(a, b)


def take(page: Any, file: Path, **how: Any) -> None:
    """A picture of a page, in 256 colours, which is a third of the bytes."""
    picture = Image.open(BytesIO(page.screenshot(**how))).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1024:.0f} KiB")


def main(directory: Path) -> None:
    """Run something, and look at it."""
    with tempfile.TemporaryDirectory() as state, browser() as chromium:
        up = ("up", "--listen", "127.0.0.1:0", "--state", state, "--workers", "3")
        with started(*up, "--dashboard", "127.0.0.1:0") as (process, url):
            assert process.stdout is not None
            link = process.stdout.readline().removeprefix("dashboard: ").strip()
            page = chromium.new_page(viewport=SIZE)
            page.goto(link)
            with Client(url, name="forest", progress=False) as client:
                models = load.map(range(PARTS)).map(clean).map(train, depth=3)
                best = load.map(range(PARTS, 2 * PARTS)).map(train, depth=5).reduce(better)
                futures = [client.submit(models.gather()), client.submit(best)]
                page.get_by_role("link", name="forest").click()
                page.locator("#failures details").wait_for()
                page.wait_for_timeout(8_000)  # until a part of it is done, and a part is not
                take(page, directory / "dashboard.png")
                for future in futures:
                    future.exception()
                file = Path(state) / "run.html"
                command = ("report", page.url.rpartition("/")[2], "--endpoint", url, "-o", file)
                subprocess.run([sys.executable, "-m", "armoflow", *command], check=True)
                page.goto(file.as_uri())
                page.locator(".legend li").first.wait_for()
                take(page, directory / "report.png")
            page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
