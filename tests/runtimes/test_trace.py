"""W3C trace context: what is read, what is refused, and what is handed on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.trace import TraceContext, begin_trace, read_trace

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_a_parent_is_read_and_handed_on_by_a_child():
    parent = read_trace([("user-agent", "x"), ("traceparent", GOOD), ("tracestate", "a=1"), ("tracestate", "b=2")])
    assert parent == TraceContext(trace_id=TRACE, span_id=SPAN, sampled=True, state="a=1,b=2")
    assert dict(parent.metadata()) == {"traceparent": GOOD, "tracestate": "a=1,b=2"}
    child = parent.child()
    assert (child.trace_id, child.sampled, child.state) == (parent.trace_id, True, "a=1,b=2")
    assert child.span_id != parent.span_id
    assert read_trace(child.metadata()) == child


def test_a_later_version_may_say_more():
    assert read_trace([("traceparent", f"cc-{TRACE}-{SPAN}-00-what-the-future-will-be")]) == TraceContext(
        trace_id=TRACE, span_id=SPAN, sampled=False
    )


@pytest.mark.parametrize(
    "header",
    [
        "", GOOD + "-more", GOOD.upper(), f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01", f"00-{TRACE}-{SPAN}", f" {GOOD}", f"00-{TRACE}-{SPAN}-0x", "00" * 300,
    ],
)  # fmt: skip
def test_an_invalid_parent_is_as_good_as_none(header):
    assert read_trace([("traceparent", header)]) is None


def test_a_parent_given_twice_says_nothing():
    assert read_trace([("traceparent", GOOD), ("traceparent", GOOD)]) is None


def test_a_long_state_is_dropped_whole():
    assert read_trace([("traceparent", GOOD), ("tracestate", "a=" + "x" * 511)]).state == ""


@pytest.mark.parametrize("state", ["a=\x01", "a=\t1", "a=\u00e9", b"a=\xff"])
def test_a_state_that_cannot_be_sent_on_is_dropped_too(state):
    assert read_trace([("traceparent", GOOD), ("tracestate", state)]).state == ""


def test_what_begins_here_is_valid():
    context = begin_trace()
    assert read_trace(context.metadata()) == context


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "x"]), st.text() | st.binary())))
def test_nothing_in_metadata_is_an_error(metadata):
    read_trace(metadata)
