"""What an index shows of the package: the README, whose links lead to the repository from there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)")


class CustomMetadataHook(MetadataHookInterface):
    """Called by hatchling while it builds."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the README."""
        repository = metadata["urls"]["Repository"]

        def absolute(link: re.Match[str]) -> str:
            picture, text, path = link.groups()
            return f"{picture}[{text}]({repository}/{'raw' if picture else 'blob'}/main/{path})"

        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        readme = {"content-type": "text/markdown", "text": _RELATIVE.sub(absolute, text)}
        metadata["readme"] = readme
