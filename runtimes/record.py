"""What an agent notes of each execution, hop and request: observations, metrics, spans and log lines, in one place."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from runtimes.convert import size_bytes
from runtimes.errors import Failed, Refused
from runtimes.logs import about
from runtimes.trace import begin_trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtimes.convert import Array
    from runtimes.errors import AgentError
    from runtimes.loaded import LoadedPlan
    from runtimes.metrics import Metrics
    from runtimes.observation import Journal
    from runtimes.processor import Timing
    from runtimes.run import Run
    from runtimes.specs import Route, SegmentSpec
    from runtimes.trace import TraceContext, Tracer

_LOG = logging.getLogger(__name__)


class Recorder:
    """Takes note of what happens; never of a tensor's values.

    Parameters
    ----------
    journal
        Keeps the observations that are asked for over gRPC.
    metrics
        Counts.
    tracer
        Takes spans of requests that are traced; None where nobody collects them.
    """

    def __init__(self, journal: Journal, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._journal = journal
        self._metrics = metrics
        self._tracer = tracer

    def begin(self, parent: TraceContext | None) -> TraceContext | None:
        """Begin a request's own span, below its caller's if there is one; None where nobody traces it."""
        if parent is not None:
            return parent.child()
        return None if self._tracer is None else begin_trace()

    def executed(
        self, loaded: LoadedPlan, spec: SegmentSpec, request: str, inputs: Mapping[str, Array], timing: Timing,
        trace: TraceContext | None,
    ) -> float:  # fmt: skip
        """Note an execution, or a hit; returns its joules above idle, NaN where the plan does not tell them."""
        size = size_bytes(inputs.values())
        joules = math.nan if spec.power_w is None else spec.power_w * timing.padded_s
        self._journal.add(
            "hit" if timing.hit else "segment",
            flow=spec.flow,
            segment=spec.name,
            device=loaded.device,
            to="",
            request=request,
            seconds=timing.run_s,
            padded_s=timing.padded_s,
            queue_s=timing.queue_s,
            size_bytes=size,
            epoch=loaded.epoch,
            variant=loaded.variant,
        )
        self._metrics.executed(
            spec.flow, spec.name, seconds=timing.padded_s, queue_s=timing.queue_s, size_bytes=size, joules=joules,
            hit=timing.hit,
        )  # fmt: skip
        if trace is not None:
            facts = {"placer.queue_s": timing.queue_s, "placer.bytes": size} | _joules(joules)
            what = f"{'find' if timing.hit else 'run'} {spec.name}"
            self._span(what, trace.child(), trace, timing.padded_s, loaded, request, facts)
        return joules

    def sent(
        self, run: Run, route: Route, seconds: float, size: int, span: TraceContext | None, error: AgentError | None
    ) -> None:
        """Note a message to another device, acknowledged or not."""
        loaded, flow = run.loaded, run.flow.name
        if error is None:
            self._journal.add(
                "hop",
                flow=flow,
                segment=route.after,
                device=loaded.device,
                to=route.to,
                request=run.request,
                seconds=seconds,
                padded_s=seconds,
                queue_s=0.0,
                size_bytes=size,
                epoch=loaded.epoch,
                variant=loaded.variant,
            )
            self._metrics.sent(
                flow, route.after, route.to, seconds=seconds, size_bytes=size, joules=hop_joules(route)
            )  # fmt: skip
        else:
            self._metrics.lost(flow, route.after, route.to, error.status)
        if span is not None:
            facts = {"placer.bytes": size} | _joules(hop_joules(route))
            self._span(f"send to {route.to}", span, run.trace, seconds, loaded, run.request, facts, error)

    def answered(
        self, model: str, request: str, seconds: float, trace: TraceContext | None, parent: TraceContext | None,
        error: AgentError | None,
    ) -> None:  # fmt: skip
        """Note how a client's request ended.

        Parameters
        ----------
        model
            The flow or segment; empty where the client named none that is here.
        request
            Its id.
        seconds
            From its arrival to its answer.
        trace, parent
            The request's own span and the client's; None where there is none.
        error
            What the client is told; None where it gets its result.
        """
        status = "OK" if error is None else error.status
        self._metrics.answered(model, status, seconds)
        # What is refused is the caller's affair, and strangers must not fill the disk.
        level = logging.WARNING if error is not None and not isinstance(error, Refused) else logging.DEBUG
        if _LOG.isEnabledFor(level):
            # What an executor says of a failure may quote values; the client is told, the log is not.
            told = "" if error is None or isinstance(error, Failed) else f": {error}"
            _LOG.log(
                level, "request %s of %r: %s in %.4f s%s", request, model, status, seconds, told,
                extra=about(flow=model, request=request, trace=trace, status=status),
            )  # fmt: skip
        if trace is not None:
            facts: dict[str, str | float] = {"placer.model": model, "placer.request": request}
            self._record(f"infer {model}", trace, parent, seconds, facts, error)

    def spent(self, flow: str, joules: float, *, succeeded: bool) -> None:
        """Note what a finished request of a flow cost on all devices."""
        self._metrics.spent(flow, joules, succeeded=succeeded)

    def _span(
        self, name: str, span: TraceContext, parent: TraceContext | None, seconds: float, loaded: LoadedPlan,
        request: str, facts: Mapping[str, str | float], error: AgentError | None = None,
    ) -> None:  # fmt: skip
        where: dict[str, str | float] = {
            "placer.plan": loaded.assignment.plan,
            "placer.epoch": loaded.epoch,
            "placer.request": request,
        }
        self._record(name, span, parent, seconds, {**where, **facts}, error)

    def _record(
        self, name: str, span: TraceContext, parent: TraceContext | None, seconds: float,
        facts: Mapping[str, str | float], error: AgentError | None,
    ) -> None:  # fmt: skip
        if self._tracer is not None and span.sampled:
            status = "" if error is None else error.status
            self._tracer.record(name, span, parent, seconds=seconds, error=status, attributes=facts)


def hop_joules(route: Route) -> float:
    """Joules of sending a route's message, as planned; NaN where the plan does not tell them."""
    return math.nan if route.energy_j is None else route.energy_j


def _joules(joules: float) -> dict[str, float]:
    return {} if math.isnan(joules) else {"placer.joules_modelled": joules}
