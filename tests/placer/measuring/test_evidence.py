"""Evidence: observations summed up, other ways left out, and files of runs and emulations read."""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from placer.errors import ProblemError
from placer.measuring.evidence import of_observations, of_plan, read_evidence
from runtimes.observation import Observation
from tests.placer.measuring.demo_evidence import PLAN, row

if TYPE_CHECKING:
    from pathlib import Path


def observation(sequence: int, seconds: float, **more: Any) -> Observation:
    fields: dict[str, Any] = {
        "kind": "segment", "flow": "inspect", "segment": "inspect/0", "device": "camera", "to": "",
        "request": f"r{sequence}", "seconds": seconds, "padded_s": seconds,
        "queue_s": 0.0, "bytes": 8, "sequence": sequence, "epoch": 1, "variant": "",
    }  # fmt: skip
    return Observation(**{**fields, **more})


def test_observations_are_summed_up_without_the_first() -> None:
    seconds = [9.0, *(0.01 * exp(x) for x in (-0.1, 0.1, 0.0, 0.1, -0.1))]
    (one,) = of_observations(observation(i + 1, s) for i, s in enumerate(seconds))
    assert (one.seconds, one.requests) == (pytest.approx(0.01), 5)
    assert one.spread == pytest.approx(0.14826)
    assert of_observations([observation(1, 9.0)]) == ()
    assert len(of_observations([observation(i, 1.0, to=to, kind="hop") for i in range(6) for to in ("a", "b")])) == 2


def test_requests_that_took_another_way_do_not_count() -> None:
    (flow,) = PLAN.flows
    first, second = flow.segments
    (there,) = (t for t in flow.transfers if t.target == second.device)
    own: list[dict[str, Any]] = [
        {"segment": first.name, "device": first.device},
        {"kind": "hop", "segment": first.name, "device": there.source, "to": there.target},
        {"segment": second.name, "device": second.device},
    ]
    elsewhere = [
        {**own[0], "variant": "without the box"},
        {"segment": second.name, "device": "gpu", "variant": "without the box"},
    ]
    seen = [
        observation(10 * request + i, 0.01, request=f"r{request}", **fields)
        for request, way in enumerate([own, own, elsewhere, own])
        for i, fields in enumerate(way)
    ]
    kept = of_plan(seen)
    assert {o.request for o in kept} == {"r0", "r1", "r3"}
    assert [e.requests for e in of_observations(kept)] == [2, 2, 2]


def test_a_fallback_whose_segments_have_the_plans_names_does_not_count() -> None:
    # A whole model on the camera is the segment inspect/0 of it as well, and takes longer than the plan's.
    seconds = {"": 0.01, "on the camera": 0.05}
    seen = [observation(i, seconds[way], variant=way) for i, way in enumerate(["", "", "on the camera", ""] * 5)]
    kept = of_plan(seen)
    assert {o.variant for o in kept} == {""}
    (one,) = of_observations(kept)
    assert (one.requests, one.seconds) == (14, pytest.approx(0.01))


def test_files_of_runs_and_emulations_are_read(tmp_path: Path) -> None:
    rows = [
        row("segment", "inspect/0", "camera", 0.01),
        row("hop", "inputs", "a -> b", 0.02),
        row("flow", "f", "client", 1),
    ]
    path = tmp_path / "run.json"
    path.write_bytes(msgspec.json.encode({"flow": "f", "requests": 9, "outputs": {}, "rows": rows}))
    segment, hop = read_evidence(path)
    assert (segment.device, segment.seconds, segment.spread) == ("camera", 0.01, pytest.approx(log(1.2) / 1.2816))
    assert (hop.name, hop.device, hop.to) == ("", "a", "b")
    phases = [{"name": name, "rows": rows, "errors": []} for name in ("cold", "warm", "idle")]
    flow = {"flow": "f", "sent": 9, "answered": 9, "failures": [], "phases": phases}
    whole = {"plan": "p", "devices": [], "cuts": [], "flows": [flow], "notes": []}
    path.write_bytes(msgspec.json.encode(whole))
    assert [e.kind for e in read_evidence(path)] == ["segment", "hop"] * 2
    flow["phases"] = phases[:1]
    path.write_bytes(msgspec.json.encode(whole))
    with pytest.raises(ProblemError, match="no request was measured beyond the first"):
        read_evidence(path)
    path.write_text("")
    with pytest.raises(ProblemError, match="is empty; give what `placer emulate --output`"):
        read_evidence(path)
    for text in ("[]", "{}", '{"flow": 1}'):
        path.write_text(text)
        with pytest.raises(ProblemError, match="not a measurement; give what `placer emulate --output`"):
            read_evidence(path)
