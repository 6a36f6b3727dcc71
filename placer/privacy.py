"""Spreads labels along a flow's graph and says which devices may not hold which tensors, and by which rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from placer.errors import ProblemError
from profiles.errors import choices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.models.flow_graph import FlowGraph
    from profiles import Declassify, Flow, Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """What may be where, for one flow.

    Parameters
    ----------
    labels
        Label of every tensor of the flow.
    barred
        For every tensor, the devices that must not hold it, in the order of the site.
    weights_barred
        By stage, the devices that must not hold its model's weights; a stage whose weights may be anywhere is left
        out.
    reasons
        For every device that is barred from anything, the rules that bar it, in words.
    """

    labels: Mapping[str, str]
    barred: Mapping[str, tuple[str, ...]]
    weights_barred: Mapping[str, tuple[str, ...]]
    reasons: Mapping[str, tuple[str, ...]]


def spread_labels(site: Site, flow: Flow, graph: FlowGraph) -> dict[str, str]:
    """Return the label of every tensor: the highest of its op's inputs, unless a rule declassifies it.

    A declassification lowers exactly the tensor it names; a tensor that goes around it stays as it was. What an op
    makes of weights alone is as sensitive as they are. What a condition lets go on is as sensitive as the number it
    looks at: that it comes at all tells something of it.

    Raises
    ------
    ProblemError
        A declassification names a tensor that the stage's model does not have or only reads, or would raise a label;
        the message begins with the path of the rule below the flow.
    """
    lowered: dict[str, tuple[str, Declassify]] = {}
    for index, stage in enumerate(flow.stages):
        model = graph.stages[stage.name]
        for number, rule in enumerate(stage.declassify):
            where = f"stages[{index}].declassify[{number}]"
            if rule.tensor not in model.tensors:
                near = choices(rule.tensor, model.tensors)
                raise ProblemError(f"{where}.tensor: {model.path} has no tensor {rule.tensor!r}; {near}")
            if rule.tensor in stage.reads:
                raise ProblemError(
                    f"{where}.tensor: {rule.tensor!r} is what the stage {stage.name!r} reads from "
                    f"{stage.reads[rule.tensor]!r}, and others may read it too; declassify it in the stage that makes "
                    "it, or give the flow a lower label"
                )
            lowered[graph.tensor_of(stage.name, rule.tensor)] = where, rule
    order = site.labels
    labels: dict[str, str] = {}

    def settle(tensor: str, label: str) -> None:
        if tensor in lowered:
            where, rule = lowered[tensor]
            if order.rank(rule.to) > order.rank(label):
                raise ProblemError(
                    f"{where}.to: {rule.name!r} gives tensor {rule.tensor!r} the label {rule.to!r}, but it is only "
                    f"{label!r}; a rule can only lower a label"
                )
            label = rule.to
        labels[tensor] = label

    for tensor in graph.inputs:
        settle(tensor.name, flow.labels.get(graph.wire_name(tensor.name), flow.label))
    secret = {stage.name: stage.weights_label for stage in flow.stages if stage.weights_label is not None}
    for op in graph.ops:
        # An op without inputs makes what the model's own weights hold, nothing of the flow's data.
        own = secret.get(graph.stage_of[op.name]) if op.weights_bytes else None
        label = order.highest(tuple(labels[name] for name in op.inputs) or ((own,) if own is not None else ()))
        for name in op.outputs:
            settle(name, label)
    return labels


def apply_rules(site: Site, flow: Flow, graph: FlowGraph) -> Privacy:
    """Return which devices must not hold which tensors of a flow, by zones and region rules.

    Raises
    ------
    ProblemError
        As `spread_labels`.
    """
    labels = spread_labels(site, flow, graph)
    secret = {stage.name: stage.weights_label for stage in flow.stages if stage.weights_label is not None}
    refusals = {
        (device.name, label): site.refusal(device.name, label)
        for device in site.devices
        for label in {*labels.values(), *secret.values()}
    }
    barred_by_label = {
        label: tuple(d.name for d in site.devices if refusals[d.name, label] is not None)
        for label in set(labels.values())
    }
    weights_barred = {
        stage: tuple(d.name for d in site.devices if refusals[d.name, label] is not None)
        for stage, label in secret.items()
    }
    reasons: dict[str, tuple[str, ...]] = {}
    for device in site.devices:
        words = [text for (name, _), text in sorted(refusals.items()) if name == device.name and text is not None]
        if words:
            reasons[device.name] = tuple(dict.fromkeys(words))
    return Privacy(
        labels=labels,
        barred={name: barred_by_label[label] for name, label in labels.items()},
        weights_barred=weights_barred,
        reasons=reasons,
    )
