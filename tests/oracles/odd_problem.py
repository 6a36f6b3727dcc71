"""Random problems of odd shape: whatever the format allows and a model file rarely holds.

Every number is a small multiple of a power of two, so sums and quotients are exact: two evaluators agree on which
things happen at the same moment, and ties, zeros and equal devices are everywhere.
"""

from __future__ import annotations

import random

from placer.problem import Conversion, Device, Flow, Limits, Link, Op, Option, Problem, Start, Tensor


def _some(rng: random.Random, unit: float, zero: float = 0.3) -> float:
    """Draw 0 or 1 to 8 units."""
    return 0.0 if rng.random() < zero else unit * rng.choice([1, 1, 2, 3, 4, 8])


def _odd_flow(rng: random.Random, name: str, devices: list[str], modes: list[str], ops: int) -> Flow:
    names = [f"{name}-op{i}" for i in range(ops)]
    built = []
    reads: dict[str, list[str]] = {n: [] for n in names}
    for i, n in enumerate(names):
        if i and rng.random() < 0.85:
            reads[n] = rng.sample(names[:i][-4:], k=min(i, rng.choice([1, 1, 2, 3])))
        fixed = rng.random() < (0.6 if not reads[n] else 0.1)
        places = [(d, m) for d in devices for m in modes]
        if fixed:
            device, mode = rng.choice([*places, (rng.choice(devices), "io")])
            options = [Option(device=device, mode=mode, seconds=0.0, joules=_some(rng, 0.25, 0.8))]
        else:
            options = [
                Option(
                    device=d,
                    mode=m,
                    seconds=_some(rng, 2.0**-7),
                    joules=_some(rng, 2.0**-5),
                    accuracy_cost=_some(rng, 2.0**-7, 0.7),
                )
                for d, m in rng.sample(places, k=rng.randint(1, min(len(places), 4)))
            ]
        built.append(
            Op(
                name=n,
                options=tuple(options),
                weights_bytes=_some(rng, 256.0),
                workspace_bytes=_some(rng, 256.0),
                share=rng.choice([1.0, 1.0, 1.0, 0.5, 0.25, 0.0]),
            )
        )
    tensors = []
    for n in names:
        readers = [c for c in names if n in reads[c]]
        for k in range(rng.choice([1, 1, 1, 2]) if readers else rng.choice([0, 0, 1])):
            # A second tensor goes to some of the same ops, as the outputs of a Split do.
            some = readers if k == 0 else rng.sample(readers, k=rng.randint(1, len(readers)))
            tensors.append(
                Tensor(
                    name=f"{n}.{k}",
                    bytes=_some(rng, 512.0, 0.15),
                    producer=n,
                    consumers=tuple(rng.sample(some, len(some))),
                    not_on=tuple(d for d in devices if rng.random() < 0.03),
                )
            )
    made: dict[str, list[str]] = {}
    for t in tensors:
        made.setdefault(t.producer, []).append(t.name)
    built = [_with_sizes(rng, op, made.get(op.name, [])) for op in built]
    # The file's order need not be the graph's.
    if rng.random() < 0.5:
        rng.shuffle(built)
        rng.shuffle(tensors)
    return Flow(
        name=name,
        rate_hz=_some(rng, 0.5, 0.1),
        deadline_s=None,
        latency=rng.choice(["makespan", "makespan", "makespan", "serial"]),
        ops=tuple(built),
        tensors=tuple(tensors),
        colocate=(tuple(rng.sample(names, k=min(2, ops))),) if rng.random() < 0.1 else (),
    )


def _with_sizes(rng: random.Random, op: Op, tensors: list[str]) -> Op:
    options = tuple(
        Option(
            device=o.device,
            mode=o.mode,
            seconds=o.seconds,
            joules=o.joules,
            accuracy_cost=o.accuracy_cost,
            output_bytes={t: _some(rng, 512.0) for t in tensors if rng.random() < 0.7} if rng.random() < 0.3 else None,
        )
        for o in op.options
    )
    return Op(
        name=op.name,
        options=options,
        weights_bytes=op.weights_bytes,
        workspace_bytes=op.workspace_bytes,
        share=op.share,
    )


def _share_weights(rng: random.Random, flows: list[Flow]) -> tuple[Flow, ...]:
    """Give some ops, also of different flows, the same weights."""
    size = {f"w{i}": _some(rng, 256.0) for i in range(3)}

    def with_id(op: Op) -> Op:
        if rng.random() < 0.6:
            return op
        key = rng.choice(sorted(size))
        return Op(
            name=op.name,
            options=op.options,
            weights_bytes=size[key],
            weights_id=key,
            workspace_bytes=op.workspace_bytes,
            share=op.share,
        )

    return tuple(
        Flow(
            name=f.name,
            ops=tuple(with_id(op) for op in f.ops),
            tensors=f.tensors,
            rate_hz=f.rate_hz,
            latency=f.latency,
            colocate=f.colocate,
        )
        for f in flows
    )


def _starts(seed: str, modes: list[str]) -> tuple[Start, ...]:
    """Draw what some modes take to start, by a generator of their own: what else is drawn stays as it was."""
    rng = random.Random(seed)
    return tuple(
        Start(mode=m, segment_s=_some(rng, 2.0**-8, 0.5), segment_j=_some(rng, 2.0**-6, 0.5))
        for m in modes
        if rng.random() < 0.3
    )


def odd_problem(seed: int, *, ops: int = 6, devices: int = 3, flows: int = 1) -> Problem:
    """Draw a problem without caps: several or no sources and sinks, dead ends, parallel tensors, ties, zeros."""
    rng = random.Random(seed)
    names = [f"d{i}" for i in range(rng.randint(1, devices))]
    modes = ["m0", "m1"] if rng.random() < 0.5 else ["m0"]
    built = tuple(
        Device(
            name=n,
            idle_w=_some(rng, 0.25),
            always_on=rng.random() < 0.6,
            segment_s=_some(rng, 2.0**-8, 0.5),
            segment_j=_some(rng, 2.0**-6, 0.5),
            starts=_starts(f"{seed} {n}", modes),
            wait_w=_some(rng, 0.5, 0.5),
            max_utilization=1e6,
            conversions=tuple(
                Conversion(from_mode=a, to_mode=b, s_per_byte=_some(rng, 2.0**-16), j_per_byte=_some(rng, 2.0**-14))
                for a in (*modes, "io")
                for b in (*modes, "io")
                if a != b and rng.random() < 0.4
            ),
        )
        for n in names
    )
    links = [
        Link(
            source=a,
            target=b,
            medium=rng.choice([None, "air", "air", "wire"]),
            latency_s=_some(rng, 2.0**-8),
            bytes_per_s=2.0 ** rng.choice([15, 16, 18]),
            energy_j_per_byte=_some(rng, 2.0**-15),
            energy_j_per_transfer=_some(rng, 2.0**-7, 0.6),
            tail_j=_some(rng, 2.0**-6, 0.6),
            sender_fraction=rng.choice([1.0, 0.5, 0.0]),
            receiver_fraction=0.0,
            max_utilization=1e6,
        )
        for a in names
        for b in names
        if a != b and rng.random() < 0.95
    ]
    rng.shuffle(links)
    drawn = [_odd_flow(rng, f"f{i}", names, modes, rng.randint(1, ops)) for i in range(flows)]
    return Problem(
        devices=built,
        links=tuple(links),
        flows=_share_weights(rng, drawn),
        objective="latency_s" if flows == 1 and rng.random() < 0.2 else "energy_j",
        limits=Limits(),
    )
