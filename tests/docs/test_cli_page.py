"""docs/cli.md shows what commands print, and commands and options that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import rich_click as click

from armoflow.cli.main import COMMANDS, commands, load_command
from tests.docs.cli_page import PAGE, blocks_of, engine, outputs, shape
from tests.docs.snippets import PAGES


def test_the_page_shows_what_commands_print() -> None:
    with engine() as transcript:
        printed = outputs(transcript)
    shown = blocks_of(PAGE.read_text("utf-8"))
    assert shown.keys() == printed.keys()
    for name, text in shown.items():
        assert shape(text) == shape(printed[name]), f"make cli-page writes {name!r} anew"


def _lines() -> Iterator[tuple[str, list[str]]]:
    """The commands in the pages' transcripts."""
    for page in PAGES:
        text = page.read_text("utf-8")
        for block in re.findall(r"```console\n(.*?)```", text, re.S):
            whole = block.replace("\\\n", "")
            for line in re.findall(r"^\$ armoflow (.*)$", whole, re.M):
                yield page.name, shlex.split(line, comments=True)


def test_commands_in_transcripts_have_the_options_that_they_are_given() -> None:
    context = click.Context(commands)
    known = 0
    for page, (name, *arguments) in _lines():
        assert name in COMMANDS, f"{page}: armoflow {name}"
        command = load_command(name)
        # An option that is not there is refused; what is said of the others is not looked at.
        command.make_context(name, arguments, parent=context, resilient_parsing=True)
        known += 1
    assert known > 30
