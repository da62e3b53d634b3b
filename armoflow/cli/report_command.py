"""``armoflow report``: a session as one page."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from armoflow.cli.endpoint import engine_options, look
from armoflow.cli.finding import find_session
from armoflow.cli.printing import json_option, output_option, tell_written, write_file
from armoflow.protocol.settings import ConnectionSettings
from armoflow.report.collect import collect
from armoflow.report.page import report as draw


@click.command()
@click.argument("session", metavar="SESSION|NAME")
@engine_options
@output_option("The file to write (run.html); it needs no other file, and no network.")
@json_option
def report(settings: ConnectionSettings, session: str, output: Path, as_json: bool) -> None:
    """Write a page about SESSION: when and what ran, how well, what failed, and its graph."""
    with look(settings) as inspection:
        trace = collect(inspection, find_session(inspection, session))
    write_file(output, draw(trace).encode())
    tell_written(trace.id, len(trace.runs), output, as_json=as_json)
