"""The demo's plan and evidence of it as its figures have it, or so many times as long."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from placer import demo_data
from placer.deployment.compare import Row
from placer.measuring.calibrate import Factor, calibrate
from placer.measuring.calibrated_site import calibrated_site
from placer.measuring.evidence import Evidence
from placer.planning import build_site, plan_site
from profiles import read_site

DEMO = Path(demo_data.__file__).parent / "site.yaml"
SITE = read_site(DEMO)
PLAN = plan_site(SITE)
PROBLEM = build_site(SITE)[0].problem
DAY = date(2026, 11, 22)


def as_planned(**times: float) -> list[Evidence]:
    """Make evidence of the demo's plan as its figures have it, some of it so many times as long."""
    (flow,) = PLAN.flows
    found = [
        Evidence(
            kind="segment", flow=flow.name, name=s.name, device=s.device, to="",
            seconds=s.seconds * times.get(s.device, 1), spread=0.05, bytes=1000, requests=20,
        )
        for s in flow.segments
    ]  # fmt: skip
    for t in flow.transfers:
        link = next(k for k in PROBLEM.links if (k.source, k.target) == (t.source, t.target))
        seconds = 2 * link.latency_s + t.bytes / link.bytes_per_s
        name = next(s.name for s in flow.segments if s.device == t.source)
        found.append(
            Evidence(kind="hop", flow=flow.name, name=name, device=t.source, to=t.target, spread=0.05,
                     seconds=seconds * times.get(f"{t.source}_{t.target}", 1), bytes=int(t.bytes), requests=20)
        )  # fmt: skip
    return found


def found(evidence: list[Evidence]) -> dict[str, Factor]:
    return {f.name: f for f in calibrate(SITE, PROBLEM, PLAN, evidence)}


def rewritten(folder: Path, evidence: list[Evidence], site: Path = DEMO) -> Path:
    output = folder / "new.yaml"
    given = read_site(site)
    factors = calibrate(given, build_site(given)[0].problem, PLAN, evidence)
    output.write_bytes(calibrated_site(site, output, given, factors, of="plan x", day=DAY))
    return output


def row(kind: str, name: str, where: str, seconds: float) -> Row:
    return Row(
        kind=kind, name=name, where=where, planned_s=1.0, predicted_s=None, measured_s=seconds,
        measured_p90_s=seconds * 1.2, bytes=100, requests=9,
    )  # type: ignore[arg-type]  # fmt: skip
