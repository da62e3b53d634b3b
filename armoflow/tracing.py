"""OpenTelemetry spans, where the program has set that up; without it nothing is imported.

A client's span is the parent of those of its tasks: a task's options carry it in W3C's form
(``traceparent``, ``tracestate``), so that whoever reads the options of an ArmoniK task finds the
trace that it belongs to. In a process that runs tasks OpenTelemetry is set up by whatever the
process loads, or from the variables that it defines itself, with the first task that has a trace.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from armoflow.version import __version__

Labels: TypeAlias = "tuple[tuple[str, str], ...]"
"""Options of a task, by name."""

_MODULE: Final = "opentelemetry.trace"
_NAMES: Final = ("traceparent", "tracestate")
_SAID: Final = 200
"""Characters of why something failed."""

_EXPORTERS: Final = "opentelemetry_traces_exporter"
"""Entry points of OpenTelemetry, by the names that ``OTEL_TRACES_EXPORTER`` may have."""


def is_on() -> bool:
    """Whether this process uses OpenTelemetry, set up or not."""
    return _MODULE in sys.modules


def trace_of(options: Mapping[str, str]) -> Labels:
    """The trace that a task belongs to, among its options.

    Example:
        >>> trace_of({"traceparent": "00-4bf9...-01", "colour": "red"})
        (('traceparent', '00-4bf9...-01'),)
    """
    return tuple((name, options[name]) for name in _NAMES if name in options)


@contextmanager
def span(
    name: str, kind: str, attributes: Mapping[str, Any], parent: Labels = ()
) -> Iterator[Labels]:
    """A span around a block, if OpenTelemetry is there; that the block fails is noted in it.

    Args:
        name: What happens.
        kind: ``CLIENT``, ``PRODUCER`` or ``CONSUMER``, as OpenTelemetry has it.
        attributes: What else is told of it.
        parent: The trace that it belongs to; without, that of the caller.

    Yields:
        The trace that belongs to it; that of the parent where spans are not set up.
    """
    if not is_on():
        yield parent
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    form = TraceContextTextMapPropagator()
    context = form.extract(dict(parent)) if parent else None
    tracer = trace.get_tracer("armoflow", __version__)
    with tracer.start_as_current_span(
        name,
        context,
        trace.SpanKind[kind],
        dict(attributes),
        record_exception=False,  # its text may be long: how a task failed is told in its error
        set_status_on_exception=False,
    ) as current:
        carrier: dict[str, str] = {}
        form.inject(carrier)
        try:
            yield trace_of(carrier)
        except Exception as error:
            said = str(error).partition("\n")[0][:_SAID] or type(error).__name__
            current.set_status(trace.StatusCode.ERROR, said)
            raise


def tell(name: str, attributes: Mapping[str, Any]) -> None:
    """Give the caller's span another name, and say more of it."""
    if is_on():
        from opentelemetry import trace

        current = trace.get_current_span()
        current.update_name(name)
        current.set_attributes(dict(attributes))


def _is_set_up() -> bool:
    """Whether spans go anywhere: a library may have imported no more than the names."""
    if not is_on():
        return False
    from opentelemetry import trace

    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def set_up() -> None:
    """Set OpenTelemetry up from its own variables, unless something has: for who runs tasks.

    Nothing happens where the variables name no exporter, or none of that name is installed.
    """
    asked = os.environ.get("OTEL_TRACES_EXPORTER") or (
        "otlp" if any(name.startswith("OTEL_EXPORTER_OTLP") for name in os.environ) else "none"
    )
    if asked == "none" or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or _is_set_up():
        return
    from importlib.metadata import entry_points

    wanted = ("otlp_proto_grpc", "otlp_proto_http") if asked == "otlp" else (asked,)
    found = {point.name: point for point in entry_points(group=_EXPORTERS)}
    point = next((found[name] for name in wanted if name in found), None)
    if point is None:
        return
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(point.load()()))
    trace.set_tracer_provider(provider)
