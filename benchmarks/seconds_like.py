"""How far off seconds are that `profiles.seconds_like` takes from another device, by how many models ran there.

The other device ran the model that is asked for, and some more that are drawn at random; this device's line is fitted
to everything but that model's family. All pairs of devices with the same kind of processor and other hardware.

    python -m benchmarks.seconds_like
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.energy_estimators import line_and_twins
from benchmarks.published_joules import cases, edge_systems, tiny_boards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.published_joules import Case

OTHERS = (0, 1, 2, 3, 4, 8)
_SEED, _DRAWS = 3, 4


def errors(all_cases: Sequence[Case], others: int) -> list[float]:
    """Return the relative errors of the seconds of models that were left out, with so many others profiled."""
    rng = np.random.default_rng(_SEED)
    found: list[float] = []
    for case in all_cases:
        line_s, twins = line_and_twins(case)
        for theirs, both in twins:
            if len(both) < others:
                continue
            ratios = np.array([line_s(run) / theirs[run.model] for run in both])
            for _ in range(_DRAWS):
                drawn = ratios[rng.choice(len(ratios), others, replace=False)]
                for run in case.held:
                    factor = np.median([*drawn, line_s(run) / theirs[run.model]])
                    found.append(abs(float(factor * theirs[run.model] / run.seconds - 1)))
    return found


def main() -> None:
    """Print the mean errors."""
    sets = {
        "MLPerf Tiny, processors": [case for case in cases(tiny_boards()) if case.series.kind == "cpu"],
        "MLPerf Tiny, accelerators": [case for case in cases(tiny_boards()) if case.series.kind == "npu"],
        "MLPerf Inference edge": list(cases(edge_systems())),
    }
    lines = ["| mean error in %, by models beside the one asked for | " + " | ".join(map(str, OTHERS)) + " |"]
    lines.append("|---" * (len(OTHERS) + 1) + "|")
    for name, all_cases in sets.items():
        by_number = [errors(all_cases, others) for others in OTHERS]
        shown = [f"{100 * np.mean(found):.1f}" if found else "" for found in by_number]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
