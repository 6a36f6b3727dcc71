"""The agent's log: one line, or one JSON object, for each record, whatever is in it."""

from __future__ import annotations

import json
import logging

from hypothesis import given
from hypothesis import strategies as st

from runtimes.logs import JsonFormatter, TextFormatter, about
from runtimes.trace import begin_trace


def record(message: str, *args, **extra) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "runtimes.x", "levelname": "WARNING", "msg": message, "args": args})
    made.__dict__.update(extra)
    return made


def test_a_line_has_who_when_what_and_its_trace():
    trace = begin_trace()
    line = JsonFormatter("box").format(
        record("took %.1f s", 1.5, **about(flow="inspect", request="q", trace=trace, status="OK"))
    )
    told = json.loads(line)
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "WARNING", "logger": "runtimes.x", "device": "box", "message": "took 1.5 s", "flow": "inspect",
        "request": "q", "status": "OK", "trace_id": trace.trace_id, "span_id": trace.span_id,
    }  # fmt: skip


def test_a_request_without_a_trace_has_none_in_its_line():
    assert "trace_id" not in about(flow="inspect", request="q", trace=None)


def test_an_exception_is_in_its_line():
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        made = record("failed", exc_info=(type(error), error, error.__traceback__))
    line = JsonFormatter("box").format(made)
    assert "\n" not in line
    assert "ValueError: two\nlines" in json.loads(line)["exception"]


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=50))
def test_any_text_stays_one_line_of_json(text):
    line = JsonFormatter(text).format(record("%s", text, request=text))
    assert "\n" not in line
    assert json.loads(line.encode())["logger"] == "runtimes.x"


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=50))
def test_nothing_that_a_line_for_people_quotes_begins_another(text):
    line = TextFormatter().format(record("request %s failed", text))
    assert line.isprintable()
    assert line.splitlines() == [line]
    assert text in line or not text.isprintable()


def test_a_trace_for_people_keeps_its_lines():
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        made = record("failed", exc_info=(type(error), error, error.__traceback__))
    assert "ValueError: two" in TextFormatter().format(made).splitlines()
