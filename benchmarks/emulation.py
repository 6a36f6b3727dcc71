"""How well a plan's times are predicted on its emulated site: many links and cuts, as a table in docs/emulation.md.

Each cell is a plan with one link (or two) and one cut of the demo's model, emulated as `placer emulate` does it; its
prediction is made before its run. The process times in `placer.emulation.predict` were set by looking at the cells of
even number alone. A cell is disturbed, and measured again up to twice, where the padded segments, whose time is known,
came out more than 10 % late: a rule that does not look at what is predicted.

    python benchmarks/emulation.py [--only [N ...]] [--json FILE] [--write docs/emulation.md]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from placer.emulation.emulate import emulate
from placer.ends import SINK, SOURCE
from placer.plan import Model
from placer.planning import build_site
from placer.problem import Link, Option, Problem
from placer.solver.solve import solve
from profiles import read_site

if TYPE_CHECKING:
    from placer.emulation.result import FlowRun, Phase
    from placer.plan import Plan

DEVICES = ("camera", "box", "gpu")
PADS_S = (0.020, 0.010, 0.005)
WARM_REQUESTS, IDLE_REQUESTS = 20, 7
WARM_S = 12.0
TRIES = 3
LATE = 1.10
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination.

    Parameters
    ----------
    mbit_per_s, round_trip_ms
        Of each link, from the source on.
    cuts
        After how many ops of the model each link comes.
    back
        Whether the result is wanted at the source.
    """

    mbit_per_s: tuple[float, ...]
    round_trip_ms: tuple[float, ...]
    cuts: tuple[int, ...]
    back: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one cell showed in one state; seconds of the whole flow, and without its padded segments."""

    cell: int
    state: str
    predicted_s: float
    measured_s: float
    predicted_links_s: float
    measured_links_s: float
    requests: int
    tries: int

    @property
    def error(self) -> float:
        """Relative error of the flow's latency."""
        return self.predicted_s / self.measured_s - 1

    @property
    def links_error(self) -> float:
        """Relative error of links and overheads alone."""
        return self.predicted_links_s / self.measured_links_s - 1


def _cells() -> list[Cell]:
    two = [
        (1, 20, 104), (1, 100, 72), (2, 5, 72), (2, 50, 36), (5, 10, 36), (5, 100, 104), (5, 40, 24), (10, 20, 24),
        (10, 5, 72), (10, 80, 36), (20, 10, 12), (20, 50, 24), (20, 100, 72), (50, 5, 24), (50, 20, 12), (50, 100, 36),
        (100, 10, 0), (100, 40, 12), (100, 5, 104), (200, 20, 18), (200, 60, 24), (200, 5, 12), (500, 10, 18),
        (500, 50, 0), (500, 100, 36), (500, 5, 24),
    ]  # fmt: skip
    cells = [
        Cell(mbit_per_s=(mbit,), round_trip_ms=(rtt,), cuts=(cut,), back=i % 3 == 2)
        for i, (mbit, rtt, cut) in enumerate(two)
    ]
    three = [((100, 10), (5, 40), (12, 72)), ((20, 200), (50, 20), (24, 36)), ((50, 50), (10, 10), (12, 36))]
    return cells + [Cell(mbit_per_s=mbit, round_trip_ms=rtt, cuts=cuts, back=False) for mbit, rtt, cuts in three]


def make_plan(cell: Cell, rate_hz: float) -> Plan:
    """Make the plan of a cell: one way to run it, devices as slow as `PADS_S` says."""
    with resources.as_file(resources.files("placer.demo_data")) as folder:
        site = read_site(Path(folder) / "site.yaml")
        built, graphs = build_site(site)
    (flow,), count = built.problem.flows, len(cell.cuts) + 1
    bounds = [0, *cell.cuts, len(flow.ops) - 2]
    places = [d for d in range(count) for _ in range(bounds[d], bounds[d + 1])]
    ops = []
    inner = iter(places)
    for op in flow.ops:
        if op.name in (SOURCE, SINK):
            last = 0 if op.name == SOURCE or cell.back else count - 1
            option = Option(device=DEVICES[last], mode="io", seconds=0.0, joules=0.0)
        else:
            d = next(inner)
            option = Option(device=DEVICES[d], mode="cpu", seconds=PADS_S[d] / places.count(d), joules=0.001)
        ops.append(msgspec.structs.replace(op, options=(option,)))
    links = []
    for i, (mbit, rtt) in enumerate(zip(cell.mbit_per_s, cell.round_trip_ms, strict=True)):
        for pair in (DEVICES[i : i + 2], DEVICES[i : i + 2][::-1]):
            links.append(
                Link(source=pair[0], target=pair[1], latency_s=rtt / 2000, bytes_per_s=mbit * 125e3,
                     energy_j_per_byte=1e-8)
            )  # fmt: skip
    problem = Problem(
        devices=tuple(msgspec.structs.replace(d, segment_s=0.0) for d in built.problem.devices),
        links=tuple(links),
        flows=(
            msgspec.structs.replace(
                flow, ops=tuple(ops), rate_hz=rate_hz, deadline_s=None,
                tensors=tuple(msgspec.structs.replace(t, not_on=()) for t in flow.tensors),
            ),
        ),
    )  # fmt: skip
    stage = site.flows[0].stages[0]
    graph = graphs[flow.name].stages[stage.name]
    model = Model(
        flow=flow.name, stage=stage.name, path=str(graph.path), sha256=graph.sha256, inputs=dict(stage.inputs)
    )
    return solve(problem, models=(model,))


def measure(number: int, cell: Cell) -> list[Outcome]:
    """Emulate a cell: cold and warm in one run, and after pauses in another."""
    plan = make_plan(cell, 0.0)
    found = []
    for rate_hz, requests in ((0.0, WARM_REQUESTS), (min(1.0, 0.3 / plan.flows[0].latency_s), IDLE_REQUESTS)):
        paced = make_plan(cell, rate_hz)
        duration_s = WARM_S if rate_hz == 0 else requests / rate_hz
        tries = 0
        while True:
            tries += 1
            (flow,) = emulate(paced, duration_s=duration_s, runs=requests).flows
            if tries == TRIES or not _disturbed(flow):
                break
        for phase in flow.phases:
            if (rate_hz == 0) or phase.name != "cold":
                state = "cold" if phase.name == "cold" else "steady" if rate_hz == 0 else "after pauses"
                found.append(_outcome(number, state, phase, tries))
    return found


def _disturbed(flow: FlowRun) -> bool:
    return any(
        row.measured_s > LATE * (row.predicted_s or 0.0)
        for phase in flow.phases
        for row in phase.rows
        if row.kind == "segment"
    )


def _outcome(number: int, state: str, phase: Phase, tries: int) -> Outcome:
    whole = phase.rows[-1]
    segments = [r for r in phase.rows if r.kind == "segment"]
    predicted_s, measured_s = whole.predicted_s or 0.0, whole.measured_s
    return Outcome(
        cell=number,
        state=state,
        predicted_s=predicted_s,
        measured_s=measured_s,
        predicted_links_s=predicted_s - sum(r.predicted_s or 0.0 for r in segments),
        measured_links_s=measured_s - sum(r.measured_s for r in segments),
        requests=whole.requests,
        tries=tries,
    )


def summary(outcomes: list[Outcome], cells: list[Cell]) -> str:
    """Write the tables."""
    lines = [
        "| errors, absolute | cells | flow: median | p90 | links alone: median | p90 |",
        "|---|---|---|---|---|---|",
    ]
    for state in ("steady", "after pauses", "cold"):
        for name, rest in (("calibrating", 0), ("unseen", 1)):
            chosen = [o for o in outcomes if o.state == state and o.cell % 2 == rest]
            if chosen:
                flow = sorted(abs(o.error) for o in chosen)
                links = sorted(abs(o.links_error) for o in chosen)
                lines.append(
                    f"| {state}, {name} | {len(chosen)} | {median(flow):.1%} | {_p90(flow):.1%} | "
                    f"{median(links):.1%} | {_p90(links):.1%} |"
                )
    lines += ["", "| cell | Mbit/s | round trip ms | cut after op | result at | state | predicted ms | measured ms "
              "| error | links alone | tries |", "|---|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for o in outcomes:
        cell = cells[o.cell]
        lines.append(
            f"| {o.cell} | {_list(cell.mbit_per_s)} | {_list(cell.round_trip_ms)} | {_list(cell.cuts)} | "
            f"{'source' if cell.back else 'last'} | {o.state} | {o.predicted_s * 1e3:.1f} | {o.measured_s * 1e3:.1f} | "
            f"{o.error:+.1%} | {o.links_error:+.1%} | {o.tries} |"
        )
    return "\n".join(lines)


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{v:g}" for v in values)


def _p90(ordered: list[float]) -> float:
    return ordered[min(len(ordered) - 1, round(0.9 * (len(ordered) - 1)))]


def main() -> int:
    """Measure the cells asked for and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", type=int, nargs="*", help="numbers of the cells to measure; none to write what FILE has"
    )
    parser.add_argument("--json", type=Path, help="keep the outcomes in this file, and those it has of other cells")
    parser.add_argument("--write", type=Path, help="put the tables into this document")
    given = parser.parse_args()
    cells = _cells()
    numbers = range(len(cells)) if given.only is None else given.only
    kept: list[Outcome] = []
    if given.json is not None and given.json.exists():
        kept = [Outcome(**o) for o in json.loads(given.json.read_text()) if o["cell"] not in numbers]
    for number in numbers:
        for outcome in measure(number, cells[number]):
            kept.append(outcome)
            sys.stderr.write(
                f"{number} {cells[number].mbit_per_s} {outcome.state} {outcome.measured_s * 1e3:.1f} ms "
                f"{outcome.error:+.1%} links {outcome.links_error:+.1%} tries {outcome.tries}\n"
            )
        if given.json is not None:
            given.json.write_text(json.dumps([asdict(o) for o in kept], indent=1))
    kept.sort(key=lambda o: o.cell)
    text = summary(kept, cells)
    where = f"Linux {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}."
    if given.write is not None:
        before, _, rest = given.write.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        given.write.write_text(f"{before}{BEGIN}\n{where}\n\n{text}\n{END}{after}")
    else:
        sys.stdout.write(f"{where}\n\n{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
