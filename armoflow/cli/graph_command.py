"""``armoflow graph``: what a session ran, as a picture."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from armoflow.cli.endpoint import engine_options, look
from armoflow.cli.finding import find_session
from armoflow.cli.printing import json_option, output_option, tell_written, write_file
from armoflow.graph.render import FORMATS, check_format, draw_as
from armoflow.protocol.settings import ConnectionSettings
from armoflow.report.collect import collect
from armoflow.report.digest import Digest


@click.command()
@click.argument("session", metavar="SESSION|NAME")
@engine_options
@output_option(f"The file to write; its suffix chooses the format: {', '.join(FORMATS)}.")
@json_option
def graph(settings: ConnectionSettings, session: str, output: Path, as_json: bool) -> None:
    """Draw the graph of SESSION: a box for the tasks of each name, coloured by how far they are."""
    suffix = check_format(output)
    with look(settings) as inspection:
        trace = collect(inspection, find_session(inspection, session))
    digest = Digest()
    digest.add(trace.runs)
    write_file(output, draw_as(digest.flow.picture(), suffix))
    tell_written(trace.id, len(trace.runs), output, as_json=as_json)
