"""Spans of a client and of its tasks are one trace, whoever runs the tasks."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import AsyncClient, Client, task, tracing
from tests.faults.scripts import wait_for
from tests.integration.engines import STOCK, Up
from tests.integration.looking import Looking

SDK = pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry") is None, reason="opentelemetry-sdk is not installed"
)
"""Not imported here: tasks import this module, too."""

EXPORTER = '''
import json, os

class FileExporter:
    """Writes spans where the test reads them."""

    def export(self, spans):
        with open(os.environ["SPANS"], "a") as file:
            for span in spans:
                file.write(span.to_json(indent=None) + "\\n")

    def shutdown(self): pass
    def force_flush(self, timeout_millis=0): return True
'''


def _forget() -> None:
    """No other test shall find OpenTelemetry here."""
    for name in list(sys.modules):
        if name.partition(".")[0] == "opentelemetry":
            del sys.modules[name]


@task
def one(number: int) -> int:
    return number + 1


@task
def bad(number: int) -> int:
    raise ValueError(f"{number} is bad\nand more of it")


@task
def family(number: int) -> Any:
    return one(one(number))


class Traced:
    """An engine whose processes write their spans into a file."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        metadata = directory / "site" / "exporter-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: exporter\nVersion: 1.0\n")
        entry = "[opentelemetry_traces_exporter]\nfile = exporter:FileExporter\n"
        (metadata / "entry_points.txt").write_text(entry)
        (directory / "site" / "exporter.py").write_text(EXPORTER)
        self.file = directory / "spans"
        variables = {
            "OTEL_TRACES_EXPORTER": "file",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "SPANS": str(self.file),
        }
        named = [text for item in variables.items() for text in ("--env", "=".join(item))]
        environment = {**os.environ, "PYTHONPATH": str(directory / "site")}
        self.up = Up(directory, *arguments, "--workers", "1", *named, environment=environment)

    def spans(self, count: int) -> list[dict[str, Any]]:
        """Those that were written, once there are so many."""

        def read() -> list[dict[str, Any]]:
            lines = self.file.read_text().splitlines() if self.file.exists() else []
            return [json.loads(line) for line in lines]

        wait_for(lambda: len(read()) >= count, "spans are missing")
        return read()


@pytest.fixture(params=[(), STOCK], ids=["lane", "service"])
def traced(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Traced]:
    engine = Traced(tmp_path, *request.param)
    yield engine
    engine.up.stop()


@pytest.fixture
def exporter() -> Iterator[Any]:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)
    yield memory
    _forget()


@SDK
def test_a_client_and_its_tasks_are_one_trace(
    traced: Traced, exporter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    tracing.set_up()  # something has done that already
    assert trace.get_tracer_provider() is provider
    with (
        Client(traced.up.endpoint, inline_seconds=0.0, name="watched") as client,
        trace.get_tracer("test").start_as_current_span("script") as script,
    ):
        assert client.compute(family(1)) == 3
        assert isinstance(client.submit(bad(7)).exception(), ValueError)
        assert client.gather(client.map(one, [1, 2])) == [2, 3]
        looking = Looking(traced.up)
        (session,) = looking.sessions()
        options = [task.options.options for task in looking.tasks(session)]
        looking.close()
    trace_id = f"{script.get_span_context().trace_id:032x}"
    assert options and all(found["traceparent"].split("-")[1] == trace_id for found in options)

    calls = {span.name: span for span in exporter.get_finished_spans()}
    assert {"armoflow.compute", "armoflow.submit", "armoflow.map"} <= calls.keys()
    assert calls["armoflow.compute"].parent.span_id == script.get_span_context().span_id
    assert list(calls["armoflow.compute"].attributes["armoflow.names"]) == ["family"]

    spans = traced.spans(len(options))
    assert {span["context"]["trace_id"] for span in spans} == {f"0x{trace_id}"}
    assert {span["name"] for span in spans} == {"family", "one", "bad"}
    (parent,) = (span for span in spans if span["name"] == "family")
    assert parent["parent_id"] == f"0x{calls['armoflow.compute'].context.span_id:016x}"
    assert parent["attributes"]["armonik.session.id"] == session
    children = [span for span in spans if span["parent_id"] == parent["context"]["span_id"]]
    assert {span["name"] for span in children} == {"one"}
    (failed,) = (span for span in spans if span["status"]["status_code"] == "ERROR")
    assert failed["name"] == "bad" and "ValueError: 7 is bad" in failed["status"]["description"]


def told(exporter: Any) -> list[tuple[str, str, str]]:
    """Spans in the order of their beginning: name, name of the parent, status."""
    spans = sorted(exporter.get_finished_spans(), key=lambda span: span.start_time)
    exporter.clear()
    names = {span.context.span_id: span.name for span in spans}
    return [
        (span.name, names[span.parent.span_id] if span.parent else "", span.status.status_code.name)
        for span in spans
    ]


@SDK
def test_tasks_in_the_callers_thread_have_spans_too(exporter: Any) -> None:
    from opentelemetry import trace

    with Client(local=True) as client:
        with trace.get_tracer("test").start_as_current_span("script"):
            assert client.compute(family(1)) == 3
        assert told(exporter) == [
            ("script", "", "UNSET"),
            ("armoflow.compute", "script", "UNSET"),
            ("family", "armoflow.compute", "UNSET"),
            ("one", "family", "UNSET"),
            ("one", "family", "UNSET"),
        ]
        with pytest.raises(ValueError, match="7 is bad"):
            client.compute(bad(7))
        failed = [("armoflow.compute", "", "ERROR"), ("bad", "armoflow.compute", "ERROR")]
        assert told(exporter) == failed
        assert client.submit(bad(7)).exception() is not None
        assert client.gather(client.map(one, [1, 2])) == [2, 3]
        assert [name for name, _, _ in told(exporter)] == [
            "armoflow.submit",
            "bad",
            "armoflow.map",
            "one",
            "one",
        ]


@SDK
def test_a_call_that_is_awaited_is_a_span_until_its_values_are_here(exporter: Any) -> None:
    from opentelemetry import trace

    async def ask() -> None:
        async with AsyncClient(local=True) as client:

            async def compute(number: int) -> None:
                with trace.get_tracer("test").start_as_current_span(f"script {number}"):
                    assert await client.compute(one(number)) == number + 1

            await asyncio.gather(compute(1), compute(2))
            with pytest.raises(ValueError, match="7 is bad"):
                await client.compute(bad(7))

    asyncio.run(ask())
    found = told(exporter)
    for number in (1, 2):
        assert ("armoflow.compute", f"script {number}", "UNSET") in found
    assert ("armoflow.compute", "", "ERROR") in found


def test_without_opentelemetry_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = (("traceparent", "00-1-2-01"),)
    with tracing.span("name", "CLIENT", {}, parent) as trace:
        assert trace == parent
    tracing.tell("another", {})
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    tracing.set_up()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "one that is not installed")
    tracing.set_up()
    assert not tracing.is_on()
