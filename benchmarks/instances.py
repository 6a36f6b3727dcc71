"""Builds the problems that the benchmarks solve: model graphs on committed sites, sized by name and number."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor

LIGHT_GRAPHS = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)
_SITES = Path(__file__).with_name("sites.json")


@dataclass(frozen=True, slots=True)
class Node:
    """One op of a model: its name, MACs, bytes of weights and of its output, and the ops it reads."""

    name: str
    macs: float
    weights_bytes: float
    output_bytes: float
    parents: tuple[str, ...]


def light_graph(name: str) -> tuple[Node, ...]:
    """Read one of the `light_*` models that the onnx wheel carries.

    Parameters
    ----------
    name
        One of `LIGHT_GRAPHS`.
    """
    import onnx.backend.test.data.light as light

    from placer.models.read_onnx import read_onnx

    graph = read_onnx(Path(next(iter(light.__path__))) / f"light_{name}.onnx")
    nodes = [Node("source", 0.0, 0.0, float(sum(t.bytes for t in graph.inputs)), ())]
    for op in graph.ops:
        producers = [graph.producer(t) for t in op.inputs]
        parents = tuple(dict.fromkeys("source" if p is None else p.name for p in producers))
        size = float(sum(graph.tensors[t].bytes for t in op.outputs))
        nodes.append(Node(op.name, float(op.macs), float(op.weights_bytes), size, parents))
    read = {p for n in nodes for p in n.parents}
    nodes.append(Node("sink", 0.0, 0.0, 0.0, tuple(n.name for n in nodes if n.name not in read)))
    return tuple(nodes)


def grown_graph(ops: int, seed: int) -> tuple[Node, ...]:
    """Draw a network of about `ops` ops, a chain of cells of one to four parallel branches of convolutions.

    Cells are those of common networks: residual (a skip beside a branch), inception (four branches),
    squeeze (two short branches) and plain. Sizes shrink and channels grow with the depth.
    """
    rng = random.Random(seed)
    nodes = [Node("source", 0.0, 0.0, 6e5, ())]
    last, count = "source", 0

    def add(parents: tuple[str, ...], macs: float, size: float) -> str:
        nonlocal count
        name = f"op{count}"
        count += 1
        nodes.append(Node(name, macs, 0.0 if macs == 0 else 4e5, float(round(size)), parents))
        return name

    while count < ops - 2:
        size = 4e5 * (0.5 + rng.random()) * 0.3 ** (2 * count / ops)
        branches = rng.choice([1, 2, 2, 2, 4])
        ends = []
        for b in range(branches):
            at = last
            if branches == 2 and b == 1 and rng.random() < 0.6:
                ends.append(at)
                continue
            for _ in range(rng.choice([1, 1, 2, 3]) if branches > 1 else 1):
                at = add((at,), 10 ** rng.uniform(5.5, 8) * 500 / ops, size / branches)
                at = add((at,), 0.0, nodes[-1].output_bytes)
            ends.append(at)
        last = add(tuple(dict.fromkeys(ends)), 0.0, size)
    nodes.append(Node("sink", 0.0, 0.0, 0.0, (last,)))
    return tuple(nodes)


@dataclass(frozen=True, slots=True)
class Setting:
    """How the committed site is bent: factors on its figures; 1 leaves them."""

    name: str
    segment: float = 1.0
    """On the cost of starting a segment. The fits' intercepts belong to whole networks; a smaller fraction makes the
    best plans have more segments, which makes them harder to find."""
    bandwidth: float = 1.0
    """On bytes per second; latency and joules per byte are divided by its square root."""
    cloud_seconds: float = 1.0
    """On the seconds of the cloud's ops; its joules grow by the square root."""


SITE = Setting("site")
FINE = Setting("fine", segment=0.02)
MESH = Setting("mesh", segment=0.02, bandwidth=20.0, cloud_seconds=50.0)
"""Fast links and no device that beats all others: where many devices at once are worth while."""
SETTINGS = (SITE, FINE, MESH)


def benchmark_problem(
    nodes: tuple[Node, ...], devices: int, deadline_s: float | None = None, setting: Setting = SITE
) -> Problem:
    """Put a model on the first `devices` devices of the committed site; source and sink are at the camera.

    Parameters
    ----------
    nodes
        The model, source first and sink last.
    devices
        1 to 6 are those of the file; beyond, the edge devices are repeated at slightly other speeds.
    deadline_s
        Deadline of the flow, or None.
    setting
        How the site is bent.
    """
    site: dict[str, Any] = json.loads(_SITES.read_text(encoding="utf-8"))
    kinds, links = _repeat(site, devices, setting)
    ops = []
    for node in nodes:
        if node.name in ("source", "sink"):
            ops.append(Op(name=node.name, options=(Option(device="camera", mode="io", seconds=0.0, joules=0.0),)))
            continue
        options = tuple(
            Option(
                device=k["name"],
                mode="fp32",
                seconds=k["seconds_per_mac"] * node.macs,
                joules=k["seconds_per_mac"] * node.macs * (k["active_w"] - k["idle_w"]) * k["pue"],
            )
            for k in kinds
        )
        ops.append(Op(name=node.name, options=options, weights_bytes=node.weights_bytes))
    consumers: dict[str, list[str]] = {n.name: [] for n in nodes}
    for node in nodes:
        for parent in node.parents:
            consumers[parent].append(node.name)
    tensors = tuple(
        Tensor(name=f"{n.name}:out", bytes=n.output_bytes, producer=n.name, consumers=tuple(consumers[n.name]))
        for n in nodes
        if consumers[n.name]
    )
    return Problem(
        devices=tuple(
            Device(
                name=k["name"],
                tier=k["tier"],
                idle_w=k["idle_w"],
                segment_s=setting.segment * k["segment_s"],
                segment_j=setting.segment * k["segment_s"] * (k["active_w"] - k["idle_w"]) * k["pue"],
            )
            for k in kinds
        ),
        links=links,
        flows=(Flow(name="flow", rate_hz=1.0, deadline_s=deadline_s, ops=tuple(ops), tensors=tensors),),
    )


def _repeat(site: dict[str, Any], devices: int, setting: Setting) -> tuple[list[dict[str, Any]], tuple[Link, ...]]:
    """Take the first devices of the site, or add copies of its edge devices, with their links."""
    kinds = [dict(d) for d in site["devices"][:devices]]
    for kind in kinds:
        if kind["tier"] == "cloud":
            kind["seconds_per_mac"] *= setting.cloud_seconds
            kind["active_w"] = kind["idle_w"] + (kind["active_w"] - kind["idle_w"]) / setting.cloud_seconds**0.5
    origin = {k["name"]: k["name"] for k in kinds}
    edge = [d for d in site["devices"] if d["tier"] == "edge"]
    while len(kinds) < devices:
        copy = dict(edge[(len(kinds) - 6) % len(edge)])
        speed = 1 + 0.07 * (len(kinds) - 5)
        origin[f"{copy['name']}-{len(kinds)}"] = copy["name"]
        copy |= {"name": f"{copy['name']}-{len(kinds)}", "seconds_per_mac": copy["seconds_per_mac"] * speed}
        copy["active_w"] = copy["idle_w"] + (copy["active_w"] - copy["idle_w"]) / speed**1.1
        kinds.append(copy)
    known = {frozenset(k["between"]): k for k in site["links"]}
    links = []
    for a in origin:
        for b in origin:
            # Two copies of one device see each other as the box sees the odroid: by a switch.
            pair = frozenset((origin[a], origin[b])) if origin[a] != origin[b] else frozenset(("box", "odroid"))
            if a == b:
                continue
            fields = {k: v for k, v in known[pair].items() if k not in ("between", "source")}
            fields["bytes_per_s"] *= setting.bandwidth
            fields["latency_s"] /= setting.bandwidth**0.5
            fields["energy_j_per_byte"] /= setting.bandwidth**0.5
            links.append(Link(source=a, target=b, **fields))
    return kinds, tuple(links)
