"""A chain that is cheapest sent early, and sent early is late after pauses: one plan for each deadline, by hand.

And random problems at rates that leave pauses, with deadlines after them that bite.
"""

from __future__ import annotations

import random
from itertools import pairwise

import msgspec

from placer.evaluate import evaluate_flow
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor

SIZES = {"in": 600e3, "a": 400e3, "b": 100e3, "c": 5e3}
"""Bytes of what each op hands on: the link's 60 ms round trip holds 750 kB, a window begins with 15 kB."""


def paused_problem(deadline_s: float, *, rate_hz: float = 0.5, camera_runs: bool = True, **limits: object) -> Problem:
    """Pose it: the box does each op for a third of the camera's joules, in a quarter of its time.

    Parameters
    ----------
    deadline_s, rate_hz
        Of the flow.
    camera_runs
        Whether the camera can run any op at all.
    limits
        Of the problem.
    """
    names = list(SIZES)
    devices = {"box": (0.005, 0.1), **({"camera": (0.02, 0.3)} if camera_runs else {})}
    ops = [{"name": "in", "options": [{"device": "camera", "mode": "io", "seconds": 0, "joules": 0}]}]
    for name in names[1:]:
        options = [{"device": d, "mode": "cpu", "seconds": s, "joules": j} for d, (s, j) in devices.items()]
        ops.append({"name": name, "options": options})
    ops.append({"name": "out", "options": [{"device": "box", "mode": "io", "seconds": 0, "joules": 0}]})
    readers = dict(zip(names, [*names[1:], "out"], strict=True))
    return msgspec.convert(
        {
            "devices": [{"name": "camera"}, {"name": "box"}],
            "links": [
                {"from": a, "to": b, "latency_s": 0.03, "bytes_per_s": 12.5e6, "energy_j_per_byte": 1e-9}
                for a, b in (("camera", "box"), ("box", "camera"))
            ],
            "flows": [
                {
                    "name": "inspect",
                    "rate_hz": rate_hz,
                    "deadline_s": deadline_s,
                    "ops": ops,
                    "tensors": [
                        {"name": f"t_{n}", "bytes": size, "producer": n, "consumers": [readers[n]]}
                        for n, size in SIZES.items()
                    ],
                }
            ],
            "limits": limits,
        },
        Problem,
    )


def with_pauses(problem: Problem, rng: random.Random) -> Problem:
    """Return a problem with other rates and larger tensors, and with deadlines after pauses that some choices keep."""
    replace = msgspec.structs.replace
    flows = []
    for flow in problem.flows:
        tensors = tuple(replace(t, bytes=t.bytes * rng.choice([1, 10])) for t in flow.tensors)
        flows.append(replace(flow, rate_hz=rng.choice([0.1, 0.5, 1.0, 2.0]), tensors=tensors))
    index = ProblemIndex(replace(problem, flows=tuple(flows)))
    caps = {}
    for flow in index.flows:
        choices = [tuple(rng.randrange(len(o)) for o in flow.options) for _ in range(30)]
        latencies = sorted(evaluate_flow(index, flow, c, "paused").latency_s for c in choices)
        caps[flow.name] = latencies[rng.choice([0, 1, 3, 8])]
    return replace(index.problem, limits=replace(index.problem.limits, deadline_after_pauses_s=caps))


def paused_branches(seed: int) -> Problem:
    """Draw branches between two ops, on devices whose links hold what windows after pauses do not."""
    rng = random.Random(seed)
    devices = ["d0", "d1", "d2"][: rng.choice([2, 2, 3])]
    modes = ["cpu", "npu"] if len(devices) == 2 and rng.random() < 0.3 else ["cpu"]
    chains = [["a", f"b{i}", "z"] for i in range(rng.choice([1, 2, 2]))]
    if len(devices) * len(modes) < 4 and rng.random() < 0.5:
        chains[0].insert(2, "c")
    if rng.random() < 0.3:
        chains.append(["a", "z"])
    edges = sorted({edge for chain in chains for edge in pairwise(chain)})
    ends = rng.random() < 0.7
    if ends:
        edges = [("in", "a"), *edges, ("z", "out")]
    shares = {name: 1.0 if rng.random() < 0.8 else 0.5 for edge in edges for name in edge}
    ops = []
    for name in dict.fromkeys(name for edge in edges for name in edge):
        if name in ("in", "out"):
            options = [Option(device=rng.choice(devices), mode="io", seconds=0.0, joules=0.0)]
        else:
            options = [
                Option(device=d, mode=m, seconds=rng.choice([0.002, 0.01, 0.05]), joules=rng.choice([0.1, 0.3, 0.9]))
                for d in devices
                for m in modes
            ]
        ops.append(Op(name=name, share=shares[name], options=tuple(options)))
    readers: dict[tuple[str, bool], list[str]] = {}
    for u, v in edges:
        # Of some ops all read one tensor, of others each reads its own.
        readers.setdefault((u, u == "a" or v == "z"), []).append(v)
    tensors = [
        Tensor(name=f"{u}{one}", bytes=rng.choice([2e3, 2e4, 6e4, 2e5, 6e5]), producer=u, consumers=tuple(sorted(to)))
        for (u, one), to in readers.items()
    ]
    links = [
        Link(source=a, target=b, latency_s=rng.choice([0.01, 0.03]), bytes_per_s=12.5e6, energy_j_per_byte=1e-8)
        for a in devices
        for b in devices
        if a != b
    ]
    flow = Flow(
        name="f",
        rate_hz=1.0,
        latency=rng.choice(["makespan", "makespan", "serial"]),
        ops=tuple(ops),
        tensors=tuple(tensors),
    )
    built = tuple(
        Device(name=d, segment_s=rng.choice([0.0, 0.001]), segment_j=rng.choice([0.0, 0.02])) for d in devices
    )
    return with_pauses(Problem(devices=built, links=tuple(links), flows=(flow,)), rng)
