"""Random small problems with every feature of the format, for oracles that enumerate."""

from __future__ import annotations

import random

from placer.problem import Conversion, Device, Flow, Limits, Link, Op, Option, Problem, Start, Tensor


def _amount(rng: random.Random, low: float, high: float, zero: float = 0.0) -> float:
    """Draw a log-uniform number, or 0 with the given probability; few digits, so that ties happen."""
    if rng.random() < zero:
        return 0.0
    return float(f"{low * (high / low) ** rng.random():.1e}")


def random_flow(
    rng: random.Random,
    name: str,
    devices: list[str],
    *,
    ops: int,
    modes: int = 1,
    shares: bool = False,
    scarce: float = 0.1,
) -> Flow:
    """Draw a flow of `ops` working ops between a source and a sink, with branches and joins."""
    names = [f"op{i}" for i in range(ops)]
    source, sink = rng.choice(devices), rng.choice(devices)
    built: list[Op] = [Op(name="in", options=(Option(device=source, mode="io", seconds=0.0, joules=0.0),))]
    consumers: dict[str, list[str]] = {"in": []}
    share: dict[str, float] = {"in": 1.0}
    for i, op in enumerate(names):
        before = ["in", *names[:i]]
        parents = rng.sample(before[-4:], k=min(len(before[-4:]), rng.choice([1, 1, 1, 2, 3])))
        for parent in parents:
            consumers[parent].append(op)
        consumers[op] = []
        share[op] = max(share[p] for p in parents) * (rng.choice([1.0, 0.5, 0.1]) if shares else 1.0)
        options = []
        base_s, base_j = _amount(rng, 1e-3, 1e-1, 0.1), _amount(rng, 1e-3, 1.0, 0.1)
        for device in devices:
            for m in range(modes):
                if rng.random() >= scarce:
                    options.append(
                        Option(
                            device=device,
                            mode=f"m{m}",
                            seconds=base_s * rng.choice([0.2, 0.5, 1.0, 1.0, 3.0]),
                            joules=base_j * rng.choice([0.2, 0.5, 1.0, 1.0, 3.0]),
                            accuracy_cost=rng.choice([0.0, 0.01, 0.02]) if m else 0.0,
                            output_bytes={f"t_{op}": _amount(rng, 1e2, 1e5)} if m and rng.random() < 0.3 else None,
                        )
                    )
        if not options:
            options.append(Option(device=rng.choice(devices), mode="m0", seconds=base_s, joules=base_j))
        built.append(
            Op(
                name=op,
                options=tuple(options),
                weights_bytes=_amount(rng, 1e3, 1e6, 0.3),
                workspace_bytes=_amount(rng, 1e3, 1e6, 0.3),
                weights_id=f"{name}/{op}" if rng.random() < 0.5 else None,
                share=share[op],
            )
        )
    ends = [op for op in names if not consumers[op]]
    built.append(Op(name="out", options=(Option(device=sink, mode="io", seconds=0.0, joules=0.0),)))
    for op in ends:
        consumers[op].append("out")
    tensors = tuple(
        Tensor(
            name=f"t_{op}",
            bytes=_amount(rng, 1e2, 1e6, 0.05),
            producer=op,
            consumers=tuple(consumers[op]),
            not_on=tuple(d for d in devices if d not in (source, sink) and rng.random() < 0.08),
        )
        for op in ["in", *names]
        if consumers[op]
    )
    colocate = (tuple(rng.sample(names, 2)),) if ops >= 3 and rng.random() < 0.2 else ()
    return Flow(
        name=name,
        rate_hz=_amount(rng, 0.1, 5.0),
        latency="serial" if rng.random() < 0.15 else "makespan",
        ops=tuple(built),
        tensors=tensors,
        colocate=colocate,
    )


def _starts(seed: str, modes: int) -> tuple[Start, ...]:
    """Draw what some modes take to start, by a generator of their own: what else is drawn stays as it was."""
    rng = random.Random(seed)
    chance = 0.4 if modes > 1 else 0.1
    return tuple(
        Start(mode=f"m{i}", segment_s=_amount(rng, 1e-4, 1e-2, 0.3), segment_j=_amount(rng, 1e-4, 1e-1, 0.3))
        for i in range(modes)
        if rng.random() < chance
    )


def random_problem(
    seed: int,
    *,
    devices: int = 3,
    ops: int = 6,
    flows: int = 1,
    modes: int = 1,
    shares: bool = False,
    scarce: float = 0.1,
) -> Problem:
    """Draw a problem without caps; `with_caps` adds deadlines and limits that bite."""
    rng = random.Random(seed)
    names = [f"d{i}" for i in range(devices)]
    built = tuple(
        Device(
            name=n,
            idle_w=_amount(rng, 0.01, 1.0, 0.3),
            always_on=rng.random() < 0.7,
            segment_s=_amount(rng, 1e-4, 1e-2, 0.3),
            segment_j=_amount(rng, 1e-4, 1e-1, 0.3),
            starts=_starts(f"{seed} {n}", modes),
            wait_w=_amount(rng, 1e-2, 1.0, 0.6),
            conversions=(Conversion(from_mode="m0", to_mode="m1", s_per_byte=1e-8, j_per_byte=1e-7),)
            if modes > 1 and rng.random() < 0.5
            else (),
        )
        for n in names
    )
    links = tuple(
        Link(
            source=a,
            target=b,
            medium="air" if rng.random() < 0.3 else None,
            latency_s=_amount(rng, 1e-4, 1e-1, 0.2),
            bytes_per_s=_amount(rng, 1e5, 1e8),
            energy_j_per_byte=_amount(rng, 1e-9, 1e-5, 0.1),
            energy_j_per_transfer=_amount(rng, 1e-4, 1e-1, 0.6),
            tail_j=_amount(rng, 1e-3, 1e-1, 0.7),
            sender_fraction=0.6,
            receiver_fraction=0.3,
        )
        for a in names
        for b in names
        if a != b and rng.random() < 0.9
    )
    return Problem(
        devices=built,
        links=links,
        flows=tuple(
            random_flow(rng, f"f{i}", names, ops=ops, modes=modes, shares=shares, scarce=scarce) for i in range(flows)
        ),
        limits=Limits(),
    )
