"""W3C trace context: who called, so that logs and spans of all devices can be joined to one request.

The header is that of the W3C recommendation "Trace Context", level 1: ``00-TRACE-PARENT-FLAGS``.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HEADER = "traceparent"
_STATE = "tracestate"
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# What the recommendation asks everybody to hand on at least; more is dropped whole.
_LONGEST_STATE = 512
_SAMPLED = 0x01


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """One span of a trace, as it is handed on.

    Parameters
    ----------
    trace_id, span_id
        32 and 16 hexadecimal digits.
    sampled
        Whether its spans are to be recorded.
    state
        What other tracing systems want handed on, unread.
    """

    trace_id: str
    span_id: str
    sampled: bool
    state: str = ""

    def child(self) -> TraceContext:
        """Begin a span below this one."""
        return TraceContext(
            trace_id=self.trace_id, span_id=secrets.token_hex(8), sampled=self.sampled, state=self.state
        )

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Write it as the metadata of a call."""
        parent = (_HEADER, f"00-{self.trace_id}-{self.span_id}-{_SAMPLED if self.sampled else 0:02x}")
        return (parent, (_STATE, self.state)) if self.state else (parent,)


class Tracer(Protocol):
    """What takes finished spans; a Protocol, so that no agent needs OpenTelemetry."""

    def record(
        self, name: str, span: TraceContext, parent: TraceContext | None, *, seconds: float, error: str,
        attributes: Mapping[str, str | int | float],
    ) -> None:  # fmt: skip
        """Take a span that ends now, after ``seconds``; ``error`` is empty where it went well."""


def begin_trace() -> TraceContext:
    """Begin a trace of its own, for a request that came without one."""
    return TraceContext(trace_id=secrets.token_hex(16), span_id=secrets.token_hex(8), sampled=True)


def read_trace(metadata: Iterable[tuple[str, str | bytes]]) -> TraceContext | None:
    """Find the caller's span in a call's metadata.

    Returns
    -------
    TraceContext or None
        None where there is none, or one that the recommendation calls invalid: such a request is served untraced.
    """
    parent, state = "", ""
    for key, value in metadata:
        text = value if isinstance(value, str) else value.decode("ascii", errors="replace")
        if key == _HEADER:
            # Given twice it says nothing.
            parent = text if not parent else "twice"
        elif key == _STATE:
            state = f"{state},{text}" if state else text
    if not parent:
        return None
    found = _PARENT.fullmatch(parent)
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    # A later version may say more; this one has nothing behind its flags.
    if version == "ff" or (version == "00" and rest) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceContext(
        trace_id=trace_id, span_id=span_id, sampled=bool(int(flags, 16) & _SAMPLED),
        # What gRPC cannot send on would fail the hop.
        state=state if len(state) <= _LONGEST_STATE and state.isascii() and state.isprintable() else "",
    )  # fmt: skip
