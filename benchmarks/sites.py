"""Whole sites: how long a proven plan takes as flows grow, and how close to the bound it comes.

Sites are those of benchmarks/site_instances.py, ten devices per flow. No two flows are equal, but in the rows
called "alike". CPU seconds are those of all processes together: trust them where other work shares the cores.

    python -m benchmarks.sites [--flows 10 100 1000] [--gap 0.005] [--limit 120] [--picture docs/images/sites.svg]
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.site_instances import site
from placer.index import ProblemIndex
from placer.solver.many.solve import solve_flows


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    flows: int
    alike: bool
    status: str
    objective_w: float
    gap: float
    seconds: float
    cpu_s: float
    rounds: int


def _cpu_s() -> float:
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def measure(flows: int, *, alike: bool, gap: float, time_limit_s: float) -> Row:
    """Solve one site, its problem built and read beforehand."""
    index = ProblemIndex(site(flows, alike=alike))
    cpu_s, begin_s = _cpu_s(), time.perf_counter()
    found = solve_flows(index, gap=gap, time_limit_s=time_limit_s)
    seconds = time.perf_counter() - begin_s
    objective_w = float("inf") if found.evaluation is None else found.evaluation.objective
    left = 1.0 if found.gap is None else found.gap
    return Row(flows, alike, found.status, objective_w, left, seconds, _cpu_s() - cpu_s, found.rounds)


def draw(rows: list[Row], path: Path) -> None:
    """Plot seconds against flows, both logarithmic, beside a line of linear growth."""
    import matplotlib as mpl

    mpl.use("svg")
    # Without a date and random ids equal data give equal files.
    mpl.rcParams["svg.hashsalt"] = "sites"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for alike, label in ((False, "all different"), (True, "few kinds")):
        some = [r for r in rows if r.alike == alike]
        if some:
            axes.loglog([r.flows for r in some], [r.cpu_s for r in some], marker="o", label=label)
    last = max(rows, key=lambda row: row.flows)
    ends = [min(r.flows for r in rows), last.flows]
    axes.loglog(ends, [last.cpu_s * n / last.flows for n in ends], linestyle=":", color="gray", label="linear")
    axes.set_xlabel("flows on the site")
    axes.set_ylabel("CPU seconds, to the gap or the time limit")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Print the table, row by row, and draw the picture if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flows", type=int, nargs="+", default=[10, 30, 100, 300, 1000])
    parser.add_argument("--alike", type=int, nargs="*", default=[100, 1000], help="sites of few kinds of flows")
    parser.add_argument("--gap", type=float, default=5e-3)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds per site")
    parser.add_argument("--picture", type=Path, help="SVG file to draw")
    arguments = parser.parse_args()
    print("| flows | | status | W | gap | seconds | CPU s | rounds |")
    print("|---:|---|---|---:|---:|---:|---:|---:|")
    rows = []
    for flows, alike in [(n, False) for n in arguments.flows] + [(n, True) for n in arguments.alike]:
        row = measure(flows, alike=alike, gap=arguments.gap, time_limit_s=arguments.limit)
        rows.append(row)
        print(
            f"| {row.flows} | {'alike' if row.alike else ''} | {row.status} | {row.objective_w:.3f} "
            f"| {100 * row.gap:.3f} % | {row.seconds:.1f} | {row.cpu_s:.1f} | {row.rounds} |",
            flush=True,
        )
    if arguments.picture is not None:
        draw(rows, arguments.picture)


if __name__ == "__main__":
    main()
