"""How well the transfer-time model says what calls take over a link: requests, replies, streams, the first call.

Each cell is a link of two emulated hosts, shaped in user space as `placer emulate` does it, with an agent at one end
and `placer probe`'s measurement at the other. Nothing is fitted here: the model's numbers stand in
`placer/transfer_time.py`. It also shows what a probe finds of a link whose bandwidth and latency are known.

    python benchmarks/transfer_time.py [--write docs/links.md]
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from placer.emulation.agents import child_environment, start_agents
from placer.emulation.isolation import PRIVATE_FOLDER, isolating_command
from placer.emulation.network import Network
from placer.emulation.topology import lay_network
from placer.measuring.probe import link_figures
from placer.problem import Device, Flow, Link, Op, Option, Problem
from placer.transfer_time import Path as Way
from placer.transfer_time import call_s
from runtimes.probe import LinkProbe, probe_link

if TYPE_CHECKING:
    from collections.abc import Sequence

CELLS = [
    (1, 20),
    (2, 100),
    (5, 40),
    (10, 10),
    (20, 60),
    (50, 20),
    (50, 100),
    (100, 10),
    (100, 40),
    (200, 20),
    (500, 10),
]
"""Mbit/s, and round trip in ms."""
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A link as it was set, and what a probe of it measured."""

    mbit_per_s: float
    round_trip_ms: float
    probe: LinkProbe


def measure(mbit_per_s: float, round_trip_ms: float) -> LinkProbe:
    """Probe an emulated link, in namespaces that end with this call."""
    command = [*isolating_command(), sys.executable, __file__, "--inside", str(mbit_per_s), str(round_trip_ms)]
    done = subprocess.run(
        command, env={**child_environment(), "GRPC_VERBOSITY": "NONE"}, capture_output=True, check=True, timeout=180
    )
    return msgspec.json.decode(done.stdout, type=LinkProbe)


def inside(mbit_per_s: float, round_trip_ms: float) -> None:
    """Build the two hosts, start an agent on each, and print what the first finds of the second."""
    names = ("near", "far")
    devices = tuple(Device(name=name) for name in names)
    links = tuple(
        Link(source=a, target=b, latency_s=round_trip_ms / 2000, bytes_per_s=mbit_per_s * 125e3, energy_j_per_byte=0.0)
        for a, b in (names, names[::-1])
    )
    op = Op(name="op", options=(Option(device="near", mode="io", seconds=0.0, joules=0.0),))
    problem = Problem(devices=devices, links=links, flows=(Flow(name="none", ops=(op,)),))
    subprocess.run(["mount", "-t", "tmpfs", "placer", PRIVATE_FOLDER], check=True)
    topology, folder = lay_network(problem, names), Path(PRIVATE_FOLDER)
    network = Network(topology, folder)
    addresses = start_agents(topology, network, folder)
    command = [*network.inside("near"), sys.executable, __file__, "--probe", addresses["far"]]
    sys.stdout.write(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    sys.stdout.flush()
    # The first process of the namespaces takes all others with it.
    os._exit(0)


def table(cells: Sequence[Cell]) -> str:
    """Write what was measured beside the model."""
    lines = [
        "| Mbit/s | round trip ms | probe: Mbit/s there | back | round trip ms | message | there ms | model | "
        "back ms | on a stream ms | first call ms | model |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    errors: dict[str, list[float]] = {"there": [], "back": [], "on a stream": [], "first call": [], "bandwidth": []}
    for cell in cells:
        way = Way(round_trip_s=cell.round_trip_ms / 1000, bytes_per_s=cell.mbit_per_s * 125e3)
        p, found = cell.probe, link_figures(cell.probe)
        model_s, first_model_s = call_s(p.large_bytes, way), call_s(0, way, "closed")
        there_s, back_s, stream_s = median(p.up_s), median(p.down_s), median(p.stream_up_s)
        for name, measured_s, predicted_s in (
            ("there", there_s, model_s), ("back", back_s, model_s), ("on a stream", stream_s, model_s),
            ("first call", p.first_s, first_model_s), ("bandwidth", found.up_bytes_per_s, way.bytes_per_s),
        ):  # fmt: skip
            errors[name].append(abs(predicted_s / measured_s - 1))
        lines.append(
            f"| {cell.mbit_per_s:g} | {cell.round_trip_ms:g} | {8e-6 * found.up_bytes_per_s:.4g} | "
            f"{8e-6 * found.down_bytes_per_s:.4g} | {2000 * found.latency_s:.1f} | {p.large_bytes / 1024:.0f} KiB | "
            f"{1000 * there_s:.1f} | {1000 * model_s:.1f} | {1000 * back_s:.1f} | {1000 * stream_s:.1f} | "
            f"{1000 * p.first_s:.1f} | {1000 * first_model_s:.1f} |"
        )
    facts = f"Linux {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}, load average "
    facts += f"{os.getloadavg()[0]:.1f}."
    summary = "; ".join(f"{name} {sum(e) / len(e):.1%} (worst {max(e):.1%})" for name, e in errors.items())
    return "\n".join(
        [facts, f"Mean error of the model, and of the bandwidth that a probe finds: {summary}.", "", *lines]
    )


def main() -> None:
    """Measure all cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this document")
    parser.add_argument("--inside", nargs=2, type=float, help=argparse.SUPPRESS)
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        inside(*given.inside)
    elif given.probe:
        sys.stdout.write(msgspec.json.encode(probe_link(given.probe)).decode())
    else:
        cells = []
        for mbit, rtt in CELLS:
            cells.append(Cell(mbit_per_s=mbit, round_trip_ms=rtt, probe=measure(mbit, rtt)))
            print(f"{mbit} Mbit/s, {rtt} ms: done", file=sys.stderr)
        text = table(cells)
        print(text)
        if given.write is not None:
            page = given.write.read_text(encoding="utf-8")
            before, rest = page.split(BEGIN)
            given.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
