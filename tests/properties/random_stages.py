"""Random flows of small stages that read each other, some on conditions, from and to several devices, with sites."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from placer.models.graph import Tensor
from placer.models.join_stages import join_stages
from profiles import Cache, Declassify, Stage, When
from tests.properties.random_site import LABELS, random_costs, random_graph, random_site

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from placer.costs import CostTable
    from placer.models.flow_graph import FlowGraph
    from placer.models.graph import ModelGraph
    from profiles import Flow, Site


def random_stages(rng: random.Random) -> tuple[Site, dict[str, ModelGraph], FlowGraph, dict[str, CostTable]]:
    """Draw two or three stages of one to three ops on a site of three or four devices.

    Returns the site, the models by stage, their graph and their costs.
    """
    data = ["frame", "sound"]
    made: dict[str, Tensor] = {name: Tensor.dense(name, (rng.randint(1, 400),), "float32") for name in data}
    models: dict[str, ModelGraph] = {}
    stages = []
    for i in range(rng.choice([2, 2, 3])):
        drawn = random_graph(rng, rng.choice([1, 1, 2, 3]))
        origins = rng.sample(sorted(made), k=min(len(made), len(drawn.inputs)))
        if len(origins) < len(drawn.inputs):
            drawn = random_graph_of_one_input(rng)
        name = f"s{i}"
        reads = {tensor.name: origin for tensor, origin in zip(drawn.inputs, origins, strict=True)}
        models[name] = _fed(drawn, {tensor: made[origin] for tensor, origin in reads.items()})
        when = None
        if len(made) > len(data) and rng.random() < 0.7:
            tests = rng.choice(sorted(made.keys() - data))
            when = When(tensor=tests, element=0, at_least=0.5, share=rng.choice([0.1, 0.5, 1.0]))
        lowered = rng.sample(
            sorted(drawn.tensors.keys() - reads.keys()),
            k=min(len(drawn.tensors) - len(reads), rng.choice([0, 1, 1, 2])),
        )
        stages.append(
            Stage(
                name=name,
                model="m",
                reads=reads,
                when=when,
                every=rng.choice([1, 1, 2, 4]),
                cache=_cache(rng, models[name]),
                declassify=tuple(Declassify(name=f"{name} {t}", tensor=t, to="public") for t in lowered),
                weights_label=rng.choice([None, None, None, *LABELS]),
            )
        )
        made |= {f"{name}/{tensor.name}": tensor for tensor in models[name].outputs}
    site = random_site(rng, models["s0"])
    rng.shuffle(stages)
    flow = with_ends(rng, site, msgspec.structs.replace(site.flows[0], stages=tuple(stages)), models)
    site = msgspec.structs.replace(site, flows=(flow,))
    joined = join_stages(flow, models)
    costs = {name: random_costs(rng, joined.stages[name], site) for name in models}
    return site, models, joined, costs


def _cache(rng: random.Random, model: ModelGraph) -> Cache | None:
    """Draw a cache for a model that makes something of what it reads, and hands nothing of that on as it is."""
    read = {name for op in model.ops for name in op.inputs}
    passed = {t.name for t in model.outputs} & {t.name for t in model.inputs}
    if passed or read.isdisjoint(t.name for t in model.inputs) or rng.random() < 0.6:
        return None
    return Cache(hits=rng.choice([0.0, 0.5, 0.9]), memory_bytes=1e6)


def with_ends(rng: random.Random, site: Site, flow: Flow, models: Mapping[str, ModelGraph]) -> Flow:
    """Let some data arise elsewhere, with a label of their own, and some outputs be needed elsewhere."""
    # Near to where the others are, or few would have a plan.
    zone = site.device(flow.source).zone
    near = [d.name for d in site.devices if d.zone == zone or rng.random() < 0.3]
    taken = {origin for stage in flow.stages for origin in stage.origins}
    read = sorted(taken & {"frame", "sound"})
    outputs = [f"{name}/{t.name}" for name, m in models.items() for t in m.outputs if f"{name}/{t.name}" not in taken]
    return msgspec.structs.replace(
        flow,
        sources={"sound": rng.choice(near)} if len(read) == 2 and rng.random() < 0.7 else {},
        labels={rng.choice(read): rng.choice(LABELS)} if rng.random() < 0.5 else {},
        sinks={output: rng.choice(near) for output in outputs[1:] if rng.random() < 0.5},
    )


def random_graph_of_one_input(rng: random.Random) -> ModelGraph:
    while True:
        drawn = random_graph(rng, rng.choice([1, 2]))
        if len(drawn.inputs) == 1:
            return drawn


def _fed(drawn: ModelGraph, fed: Mapping[str, Tensor]) -> ModelGraph:
    """Give a model's inputs the sizes of what they read."""
    inputs = tuple(replace(fed[t.name], name=t.name) for t in drawn.inputs)
    return type(drawn)(
        name=drawn.name,
        format=drawn.format,
        path=drawn.path,
        sha256=drawn.sha256,
        numeric=drawn.numeric,
        inputs=inputs,
        outputs=drawn.outputs,
        ops=drawn.ops,
        tensors={**drawn.tensors, **{t.name: t for t in inputs}},
    )
