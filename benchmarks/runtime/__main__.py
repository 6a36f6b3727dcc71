"""What the runtime costs; one part or all of them.

    python -m benchmarks.runtime [chain] [branch] [others] [--kserve FOLDER] [--mlserver FOLDER] [--calls N] [--json]

Every part runs its contenders in turns of one run: trust the ratios. ``others`` needs the environments that
``benchmarks/servers/install kserve FOLDER`` and the same for mlserver make.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.runtime.chain import measure_branch, measure_chain
from benchmarks.runtime.others import ROUNDS, measure_others

PARTS = ("chain", "branch", "others")
ALONE = ("--no-isolation",)


def table(rows: list[dict[str, Any]], unit: str) -> str:
    """Write rows as a table; seconds are shown in milliseconds."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---:|" * len(rows[0])]
    for row in rows:
        cells = [
            f"{value}" if not isinstance(value, float)
            else f"{1e3 * value:.2f} ms" if unit == "s" and not name.endswith("ratio") else f"{value:.2f}"
            for name, value in row.items()
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--calls", type=int, default=300, help="calls of a chain per size (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of the others (default: %(default)s)")
    parser.add_argument("--kserve", type=Path, metavar="FOLDER", help="environment with kserve")
    parser.add_argument("--mlserver", type=Path, metavar="FOLDER", help="environment with mlserver")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    environments = {n: getattr(given, n).absolute() for n in ("kserve", "mlserver") if getattr(given, n) is not None}
    found: dict[str, tuple[str, list[dict[str, Any]]]] = {}
    for part in given.parts or PARTS:
        if part == "chain":
            found["chain of three agents, one process each"] = ("s", measure_chain(given.calls, ALONE))
            found["chain of three agents, segments isolated"] = ("s", measure_chain(given.calls, ()))
        elif part == "branch":
            found["branches with a join beside lines of equal bytes"] = ("s", measure_branch(given.calls, ALONE))
        else:
            found["requests of 8 clients"] = ("", measure_others(environments, given.rounds))
    if given.json:
        print(json.dumps({name: rows for name, (_, rows) in found.items()}))
        return
    for name, (unit, rows) in found.items():
        print(f"{name}\n\n{table(rows, unit)}\n")


if __name__ == "__main__":
    main()
