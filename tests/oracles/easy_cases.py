"""Optima of problems that are easy by theory: two devices are a minimum cut, a chain is a dynamic program."""

from __future__ import annotations

import math
import random

import networkx as nx

from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor


def _joules(rng: random.Random) -> float:
    return float(f"{10 ** rng.uniform(-3, 0):.1e}")


def _link(rng: random.Random, source: str, target: str) -> Link:
    return Link(
        source=source,
        target=target,
        latency_s=0.01,
        bytes_per_s=1e6,
        energy_j_per_byte=10 ** rng.uniform(-8, -5),
        energy_j_per_transfer=rng.choice([0.0, 0.001]),
        sender_fraction=0.5,
        receiver_fraction=0.25,
        max_utilization=1e9,
    )


def two_device_problem(seed: int, ops: int) -> Problem:
    """Draw a DAG on two devices without deadline and segment costs: some ops can run on one device alone."""
    rng = random.Random(seed)
    names = [f"v{i}" for i in range(ops)]
    reads = {n: rng.sample(names[:i][-5:], k=min(i, rng.choice([0, 1, 1, 2, 3]))) for i, n in enumerate(names)}
    built = []
    for n in names:
        options = [Option(device=d, mode="m", seconds=0.001, joules=_joules(rng)) for d in ("a", "b")]
        built.append(Op(name=n, options=tuple(options if rng.random() < 0.85 else [rng.choice(options)])))
    tensors = tuple(
        Tensor(
            name=f"t{n}",
            bytes=float(rng.choice([0, 100, 10_000, 1_000_000])),
            producer=n,
            consumers=tuple(c for c in names if n in reads[c]),
            not_on=("b",) if rng.random() < 0.03 else (),
        )
        for n in names
        if any(n in reads[c] for c in names)
    )
    return Problem(
        devices=tuple(Device(name=d, max_utilization=1e9) for d in ("a", "b")),
        links=(_link(rng, "a", "b"), _link(rng, "b", "a")),
        flows=(Flow(name="f", rate_hz=1.0, ops=tuple(built), tensors=tensors),),
    )


def min_cut(problem: Problem) -> float | None:
    """Return the least watts of a two-device problem as a directed minimum cut; None if no plan is allowed.

    An op on the source's side runs on the first device. A tensor is a node of its own for each direction, so that
    it is cut once however many consumers are on the other side.
    """
    a, b = (d.name for d in problem.devices)
    (flow,) = problem.flows
    links = {(k.source, k.target): k for k in problem.links}
    graph = nx.DiGraph()

    def edge(u: object, v: object, capacity: float) -> None:
        graph.add_edge(u, v, capacity=capacity + graph.get_edge_data(u, v, {"capacity": 0.0})["capacity"])

    barred: dict[str, set[str]] = {op.name: set() for op in flow.ops}
    for t in flow.tensors:
        for n in (t.producer, *t.consumers):
            barred[n] |= set(t.not_on)
    for op in flow.ops:
        cost = {o.device: o.joules for o in op.options if o.device not in barred[op.name]}
        edge(op.name, "T", cost.get(a, math.inf))
        edge("S", op.name, cost.get(b, math.inf))
    for t in flow.tensors:
        for direction, (source, target) in enumerate(((a, b), (b, a))):
            link = links[source, target]
            joules = link.energy_j_per_transfer + t.bytes * link.energy_j_per_byte
            node = (t.name, direction)
            for c in t.consumers:
                if direction == 0:
                    edge(node, c, math.inf)
                else:
                    edge(c, node, math.inf)
            if direction == 0:
                edge(t.producer, node, joules)
            else:
                edge(node, t.producer, joules)
    try:
        value, _ = nx.minimum_cut(graph, "S", "T")
    except nx.NetworkXUnbounded:
        return None
    return None if math.isinf(value) else float(value)


def chain_problem(seed: int, ops: int, devices: int) -> Problem:
    """Draw a chain with segment costs, links that are missing here and there, and no deadline."""
    rng = random.Random(seed)
    names = [f"d{i}" for i in range(devices)]
    built = tuple(
        Op(
            name=f"v{i}",
            options=tuple(
                Option(device=d, mode="m", seconds=0.001, joules=_joules(rng))
                for d in rng.sample(names, rng.randint(1, devices))
            ),
        )
        for i in range(ops)
    )
    return Problem(
        devices=tuple(Device(name=d, segment_j=rng.choice([0.0, 0.05]), max_utilization=1e9) for d in names),
        links=tuple(_link(rng, p, q) for p in names for q in names if p != q and rng.random() < 0.9),
        flows=(
            Flow(
                name="f",
                rate_hz=2.0,
                ops=built,
                tensors=tuple(
                    Tensor(name=f"t{i}", bytes=10.0 ** rng.randint(1, 6), producer=f"v{i}", consumers=(f"v{i + 1}",))
                    for i in range(ops - 1)
                ),
            ),
        ),
    )


def chain_optimum(problem: Problem) -> float | None:
    """Return the least watts of a chain, device by device along it; None if no way leads through."""
    (flow,) = problem.flows
    links = {(k.source, k.target): k for k in problem.links}
    start_j = {d.name: d.segment_j for d in problem.devices}
    best = {o.device: o.joules + start_j[o.device] for o in flow.ops[0].options}
    for op, tensor in zip(flow.ops[1:], flow.tensors, strict=True):
        nearer = {}
        for o in op.options:
            ways = []
            for before, joules in best.items():
                if before == o.device:
                    ways.append(joules)
                elif (before, o.device) in links:
                    k = links[before, o.device]
                    sent_j = k.energy_j_per_transfer + tensor.bytes * k.energy_j_per_byte
                    ways.append(joules + sent_j + start_j[o.device])
            if ways:
                nearer[o.device] = min(ways) + o.joules
        best = nearer
    return min(best.values()) * flow.rate_hz if best else None
