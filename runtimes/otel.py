"""Sends spans to an OpenTelemetry collector; needs the extra ``otel``, which no agent needs to serve."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runtimes.errors import MissingExtra
from runtimes.version import software_version

try:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
except ImportError as error:
    raise MissingExtra(f"--otlp needs OpenTelemetry ({error}): pip install 'placer-joules[otel]'") from error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtimes.trace import TraceContext

_FLUSH_MS = 2000


class OtlpTracer:
    """Takes spans and sends them in batches, from a thread of its own; what cannot be sent is dropped.

    Parameters
    ----------
    endpoint
        The collector's address, ``http://host:port``; ``https`` encrypts.
    device
        The device's name: each span's service is ``placer-agent``, and this its instance.
    """

    def __init__(self, endpoint: str, device: str) -> None:
        # The spans are ours, identifiers and all: the tracer of the SDK would make its own.
        self._processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint))
        self._resource = Resource.create(
            {
                "service.name": "placer-agent",
                "service.instance.id": device,
                "service.version": software_version(),
            }
        )

    def record(
        self, name: str, span: TraceContext, parent: TraceContext | None, *, seconds: float, error: str,
        attributes: Mapping[str, str | int | float],
    ) -> None:  # fmt: skip
        """Take a span that ends now, after ``seconds``; ``error`` is empty where it went well."""
        ended_ns = time.time_ns()
        self._processor.on_end(
            ReadableSpan(
                name,
                context=_context(span),
                parent=None if parent is None else _context(parent),
                resource=self._resource,
                attributes={**attributes},
                kind=_kind(name),
                status=Status(StatusCode.ERROR, error) if error else Status(StatusCode.OK),
                start_time=ended_ns - round(1e9 * seconds),
                end_time=ended_ns,
            )
        )

    def stop(self) -> None:
        """Send what is left."""
        self._processor.force_flush(_FLUSH_MS)
        self._processor.shutdown()


def _context(span: TraceContext) -> SpanContext:
    return SpanContext(
        int(span.trace_id, 16), int(span.span_id, 16), is_remote=False, trace_flags=TraceFlags(int(span.sampled))
    )


def _kind(name: str) -> SpanKind:
    kinds = {"infer": SpanKind.SERVER, "send": SpanKind.CLIENT}
    return kinds.get(name.partition(" ")[0], SpanKind.INTERNAL)
