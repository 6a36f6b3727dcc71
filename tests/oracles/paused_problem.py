"""A chain that is cheapest sent early, and sent early is late after pauses: one plan for each deadline, by hand."""

from __future__ import annotations

import msgspec

from placer.problem import Problem

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
