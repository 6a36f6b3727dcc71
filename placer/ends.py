"""The ends of a flow in a problem: which device each of its data arises on, and each of its outputs is needed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.errors import ProblemError
from placer.problem import Op, Option
from profiles import split_origin
from profiles.errors import choices

if TYPE_CHECKING:
    from collections.abc import Mapping

    import profiles
    from placer.models.flow_graph import FlowGraph
    from placer.plan import FlowPlan
    from placer.problem import Flow

SOURCE, SINK = "source", "sink"
"""Names of the ops that stand for a flow's source and sink; other devices have ops of their own, and outputs of smaller
shares too."""

IO_MODE = "io"
"""Mode of sources and sinks, which run nothing."""


def is_source(op: str) -> bool:
    """Tell whether an op of a built problem stands for a source."""
    return op == SOURCE or ("/" not in op and op.startswith(f"{SOURCE} on "))


def is_sink(op: str) -> bool:
    """Tell whether an op of a built problem stands for a sink."""
    return op == SINK or ("/" not in op and op.startswith(f"{SINK} "))


def is_endpoint(op: str) -> bool:
    """Tell whether an op of a built problem stands for a source or a sink; all others bear a stage's name."""
    return is_source(op) or is_sink(op)


def source_ops(flow: profiles.Flow, graph: FlowGraph) -> tuple[dict[str, str], list[Op]]:
    """Give each of a flow's data the op that stands for its source.

    Returns
    -------
    tuple
        Name of the op by tensor, and the ops, that of the device where requests begin first.

    Raises
    ------
    ProblemError
        The flow names data that its stages do not read, or none arise where its requests begin; the message begins
        with the path of the field below the flow.
    """
    names = {graph.wire_name(tensor.name): tensor.name for tensor in graph.inputs}
    for field, named in (("sources", flow.sources), ("labels", flow.labels)):
        for name in named:
            if name not in names:
                raise ProblemError(f"{field}.{name}: no data are read so; {choices(name, names)}")
    devices = {tensor: flow.sources.get(name, flow.source) for name, tensor in names.items()}
    if flow.source not in devices.values():
        raise ProblemError(
            f"source: {flow.source!r}: no data arise there, as `sources` says; a request begins where some of its data "
            f"arise: give one of {', '.join(dict.fromkeys(devices.values()))}"
        )
    ops = {d: SOURCE if d == flow.source else f"{SOURCE} on {_quoted(d)}" for d in (flow.source, *devices.values())}
    return {t: ops[d] for t, d in devices.items()}, [_endpoint(op, d, 1.0) for d, op in ops.items()]


def sink_ops(flow: profiles.Flow, graph: FlowGraph) -> tuple[dict[str, str], list[Op]]:
    """Give each output the op that stands for its sink.

    There is one for each share, so that what comes seldom is not charged as if it came always.

    Returns
    -------
    tuple
        Name of the op by tensor, and the ops.

    Raises
    ------
    ProblemError
        The flow names an output that no sink gets, or its sink gets none; the message begins with the path of the
        field below the flow.
    """
    devices = _sink_devices(flow, graph)
    shares = {tensor.name: graph.made[tensor.name] for tensor in graph.outputs}
    # Products that differ by their rounding alone are one share, the largest of them.
    written = {name: f"{share:.12g}" for name, share in shares.items()}
    largest = {text: max(shares[name] for name in shares if written[name] == text) for text in written.values()}
    most = {d: max(largest[written[t]] for t in devices if devices[t] == d) for d in devices.values()}
    found, ops = {}, {}
    for tensor, device in devices.items():
        share = largest[written[tensor]]
        seldom = "" if share == most[device] else f" {written[tensor]}"
        where = "" if device == flow.sink else f" on {_quoted(device)}"
        name = found[tensor] = f"{SINK}{seldom}{where}"
        ops[name] = _endpoint(name, device, share)
    return found, list(ops.values())


def source_devices(flow: FlowPlan, problem_flow: Flow) -> Mapping[str, str]:
    """Give the device on which each of a planned flow's data arises, by tensor."""
    return {t.name: flow.assignment[t.producer][0] for t in problem_flow.tensors if is_source(t.producer)}


def sink_devices(flow: FlowPlan, problem_flow: Flow) -> Mapping[str, str]:
    """Give the device on which each of a planned flow's outputs is needed, by tensor."""
    return {t.name: flow.assignment[c][0] for t in problem_flow.tensors for c in t.consumers if is_sink(c)}


def _sink_devices(flow: profiles.Flow, graph: FlowGraph) -> dict[str, str]:
    outputs = [tensor.name for tensor in graph.outputs]
    found = dict.fromkeys(outputs, flow.sink)
    for output, device in flow.sinks.items():
        tensor = graph.tensor_of(*split_origin(output))
        if tensor not in found:
            raise ProblemError(f"sinks.{output}: that is no output that a sink gets; {choices(output, outputs)}")
        found[tensor] = device
    if flow.sink not in found.values():
        raise ProblemError(
            f"sink: {flow.sink!r} gets no output, as `sinks` says; give one of "
            f"{', '.join(dict.fromkeys(found.values()))}"
        )
    return found


def _quoted(device: str) -> str:
    """Write a device's name without a slash, by which ops of stages are known."""
    return device.replace("%", "%25").replace("/", "%2F")


def _endpoint(name: str, device: str, share: float) -> Op:
    return Op(name=name, options=(Option(device=device, mode=IO_MODE, seconds=0.0, joules=0.0),), share=share)
