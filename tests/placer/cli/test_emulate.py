"""What `placer emulate` says of deadlines."""

from __future__ import annotations

import pytest

from placer.cli.emulate import _tables
from placer.deployment.compare import Row
from placer.emulation.result import Emulation, FlowRun, Phase


def _row(name: str, measured_s: float, p90_s: float) -> Row:
    return Row(
        kind="flow", name=name, where="client", planned_s=0.1, predicted_s=0.1, measured_s=measured_s,
        measured_p90_s=p90_s, bytes=0, requests=5,
    )  # fmt: skip


def _said(deadline_s: float | None, *rows: Row) -> list[str]:
    phase = Phase(name="warm", rows=rows, errors=(0.0,) * len(rows))
    flow = FlowRun(flow="inspect", deadline_s=deadline_s, sent=5, answered=5, failures=(), phases=(phase,))
    shown = _tables(Emulation(plan="p", devices=("a",), cuts=(), flows=(flow,), notes=()))
    return [line for line in shown if isinstance(line, str) and "Deadline" in line]


@pytest.mark.parametrize(
    ("deadline_s", "words"),
    [
        (0.3, "Deadline of 300 ms: met at p50 (200 ms), met at p90 (300 ms)."),
        (0.25, "Deadline of 250 ms: met at p50 (200 ms), missed at p90 (300 ms)."),
        (0.1, "Deadline of 100 ms: missed at p50 (200 ms), missed at p90 (300 ms)."),
    ],
)
def test_a_deadline_is_met_or_missed_by_median_and_90th_percentile(deadline_s: float, words: str) -> None:
    assert _said(deadline_s, _row("inspect", 0.2, 0.3)) == [words]


def test_data_that_do_not_go_all_the_way_are_held_to_no_deadline() -> None:
    assert _said(0.3, _row("inspect, in part", 0.2, 0.9)) == []
    assert _said(None, _row("inspect", 0.2, 0.3)) == []
