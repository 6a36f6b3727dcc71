"""Random sites with zones, labels, region rules and declassifications, and random model graphs to place on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from placer.costs import Cost, CostTable
from placer.models.graph import ModelGraph, Op, Tensor
from profiles import Declassify, Flow, Labels, Link, LinkProfile, RegionRule, Site, Stage, Zone
from tests.profiles.build import device, figure, mode

if TYPE_CHECKING:
    import random

LABELS = ("public", "internal", "personal", "secret")


def random_graph(rng: random.Random, ops: int) -> ModelGraph:
    """Draw a model: branches, joins, skip connections, ops of two outputs, ops that read nothing, outputs inside."""
    tensors = [Tensor.dense(f"x{i}", (rng.randint(1, 400),), "float32") for i in range(rng.choice([1, 1, 2]))]
    inputs = tuple(tensors)
    built = []
    for i in range(ops):
        reads = rng.sample(tensors, k=min(len(tensors), rng.choice([0, 1, 1, 1, 2, 3])))
        makes = [Tensor.dense(f"t{i}.{k}", (rng.randint(1, 400),), "float32") for k in range(rng.choice([1, 1, 2]))]
        weights = rng.choice([0, 0, 1000])
        built.append(
            Op(
                name=f"op{i}",
                type="Any",
                macs=rng.randint(0, 1000),
                weights_bytes=weights,
                weights_id=f"w{i}" if weights else "",
                inputs=tuple(t.name for t in reads),
                outputs=tuple(t.name for t in makes),
                workspace_bytes=0,
            )
        )
        tensors += makes
    read = {name for op in built for name in op.inputs}
    made = [t for t in tensors if t not in inputs]
    outputs = [t for t in made if t.name not in read or rng.random() < 0.1]
    return ModelGraph(
        name="model",
        format="onnx",
        path="model.onnx",
        sha256="0" * 64,
        numeric="fp32",
        inputs=inputs,
        outputs=tuple(outputs or made[-1:]),
        ops=tuple(built),
        tensors={t.name: t for t in tensors},
    )


def random_site(rng: random.Random, graph: ModelGraph) -> Site:
    """Draw a site of three to four devices, all linked, for one flow of the model."""
    zones = tuple(
        Zone(name=f"z{i}", sees="secret" if i == 0 else rng.choice(LABELS[:3]), region=rng.choice(["eu", "us"]))
        for i in range(rng.randint(1, 3))
    )
    names = [f"d{i}" for i in range(rng.randint(3, 4))]
    devices = tuple(
        device(
            name=n,
            zone=rng.choice(zones).name,
            wait_w=figure(0.0),
            lookup_bytes_per_s=figure(1e6),
            modes=(mode(active_w=rng.choice([3.0, 5.0, 20.0])),),
        )
        for n in names
    )
    profile = LinkProfile(id="l", name="l", ends="both", tx_j_per_byte=figure(1e-6), rx_j_per_byte=figure(1e-6))
    links = tuple(
        Link(source=a, target=b, profile=profile, direction="up", bandwidth_bps=8e6, latency_s=0.001)
        for a in names
        for b in names
        if a != b
    )
    rules = tuple(
        RegionRule(
            name=f"rule {i}",
            label=rng.choice(LABELS),
            regions=tuple(sorted({rng.choice(["eu", "us"]), *([zones[0].region] if rng.random() < 0.8 else [])})),
        )
        for i in range(rng.choice([0, 0, 1, 2]))
    )
    lowered = rng.sample(sorted(graph.tensors), k=min(len(graph.tensors), rng.choice([0, 1, 1, 2, 3])))
    stage = Stage(
        name="stage",
        model="model.onnx",
        declassify=tuple(Declassify(name=f"lower {t}", tensor=t, to=rng.choice(LABELS[:3])) for t in lowered),
        weights_label=rng.choice([None, None, *LABELS]),
    )
    # Most flows begin and end where everything may be seen, or few would have a plan.
    ends = [d.name for d in devices if d.zone == "z0"] if rng.random() < 0.8 else names
    ends = ends or names
    flow = Flow(
        name="flow",
        source=rng.choice(ends),
        sink=rng.choice(ends),
        rate_hz=1.0,
        label=rng.choice(LABELS),
        stages=(stage,),
    )
    return Site(
        name="site",
        labels=Labels(names=LABELS),
        zones=zones,
        devices=devices,
        links=links,
        flows=(flow,),
        region_rules=rules,
        directory=Path(),
    )


def random_costs(rng: random.Random, graph: ModelGraph, site: Site) -> CostTable:
    """Draw costs that differ widely, so that plans spread out over the devices."""
    return CostTable(
        rows={
            (op.name, d.name, d.modes[0].name): Cost(
                seconds=0.001,
                joules=10 ** rng.uniform(-5, -1),
                origin="declared",
                source="drawn",
                relative_uncertainty=None,
            )
            for op in graph.ops
            for d in site.devices
        }
    )
