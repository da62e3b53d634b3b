"""Turns the Python blocks of a Markdown page into one script a page.

The blocks of a page are read in order and share their names, as a reader would type them. Every
line of the script stands on the line that it has in the page, so that a traceback or a message of
mypy points into the page. A ``text`` block directly after a Python block is what that block prints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@dataclass
class Script:
    """The Python of one page, and what it says that this prints."""

    page: Path
    lines: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The page's path, as a module's name."""
        return "_".join(self.page.relative_to(ROOT).with_suffix("").parts).replace("-", "_").lower()

    @property
    def source(self) -> str:
        """The whole script."""
        return "\n".join(self.lines) + "\n"


def extract(page: Path) -> Script | None:
    """Read a page's script; ``None`` if the page has no Python."""
    script = Script(page)
    language: str | None = None
    after_python = False
    output: list[str] = []
    for line in page.read_text(encoding="utf-8").splitlines():
        kept = ""
        if language is None and line.startswith("```"):
            language = line[3:].strip()
        elif language is not None and line.startswith("```"):
            if language == "text" and after_python:
                script.expected.append("\n".join(output))
            after_python = language == "python"
            language, output = None, []
        elif language == "python":
            kept = line
        elif language == "text":
            output.append(line)
        elif line.strip() and language is None:
            after_python = False
        script.lines.append(kept)
    return script if any(script.lines) else None


def first_missing(expected: list[str], printed: str) -> str | None:
    """The first expected text that does not come, in order, in what was printed."""
    position = 0
    for text in expected:
        found = printed.find(text, position)
        if found < 0:
            return text
        position = found + len(text)
    return None
