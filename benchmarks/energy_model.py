"""How far predicted joules are from published ones that the prediction did not see: the table of docs/energy-model.md.

MLPerf Tiny boards leave out one model at a time, MLPerf Inference systems one family of models at a time. Everything a
prediction uses of the device is fitted to the other models there.

    python -m benchmarks.energy_model [--write docs/energy-model.md] [--each]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.energy_estimators import ESTIMATORS, constant_power, power_of_rate
from benchmarks.published_joules import Array, Case, cases, column, edge_systems, tiny_boards

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def errors(estimator: Callable[[Case], Array], all_cases: Sequence[Case]) -> dict[tuple[str, str], Array]:
    """Return the relative errors of the left-out runs, by series and number format."""
    found: defaultdict[tuple[str, str], list[Array]] = defaultdict(list)
    for case in all_cases:
        # An estimator may have several answers: each counts.
        error = np.abs(estimator(case) / column(case.held, "joules") - 1)
        found[case.series.name, case.series.numeric].append(error.ravel())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def mean_error(estimator: Callable[[Case], Array], all_cases: Sequence[Case]) -> float:
    """Return the mean relative error over all left-out runs."""
    return float(np.concatenate(list(errors(estimator, all_cases).values())).mean())


def table() -> str:
    """Return the table of the document: mean, median and 90th percentile of the relative errors, in percent."""
    lines = [
        "| joules of a model that was left out | MLPerf Tiny: mean / median / p90 | worst board "
        "| MLPerf Inference edge: mean / median / p90 | worst system |",
        "|---|---|---|---|---|",
    ]
    both = [cases(tiny_boards()), cases(edge_systems())]
    for name, estimator in ESTIMATORS.items():
        cells = [name]
        for all_cases in both:
            by_series = errors(estimator, all_cases)
            every = np.concatenate(list(by_series.values()))
            worst = max(error.mean() for error in by_series.values())
            cells += [" / ".join(_percent(v) for v in (every.mean(), np.median(every), np.quantile(every, 0.9)))]
            cells += [_percent(worst)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def each() -> str:
    """Return the mean errors of every series, in percent, with measured seconds."""
    lines = ["| series | P constant | P by MAC rate |", "|---|---|---|"]
    for all_series in (tiny_boards(), edge_systems()):
        by_estimator = [errors(estimator, cases(all_series)) for estimator in (constant_power, power_of_rate)]
        lines += [
            f"| `{name}` {numeric} | " + " | ".join(_percent(e[name, numeric].mean()) for e in by_estimator) + " |"
            for name, numeric in by_estimator[0]
        ]
    return "\n".join(lines)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def main() -> None:
    """Print the table, or write it into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="document whose table is replaced")
    parser.add_argument("--each", action="store_true", help="also print every series")
    options = parser.parse_args()
    print(table())
    if options.each:
        print(each())
    if options.write is not None:
        text = options.write.read_text(encoding="utf-8")
        head, tail = text.split(BEGIN)[0], text.split(END)[1]
        options.write.write_text(f"{head}{BEGIN}\n{table()}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
