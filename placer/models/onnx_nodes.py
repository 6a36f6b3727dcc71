"""Which nodes of an ONNX graph are ops to be placed, and which are constants that follow their readers.

Reading and cutting must agree on names, order and constants to the letter, so both ask here.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from placer.errors import ProblemError
from placer.models.onnx_file import bodies

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxNodes:
    """The nodes of one ONNX graph, told apart.

    Parameters
    ----------
    names
        Unique name of each op, in topological order.
    nodes
        The NodeProto of each op.
    reads
        What each op reads from its graph, constants and captured values included.
    initializers
        TensorProto of every initializer.
    constant_nodes
        Nodes that depend on constants alone, by each of their outputs, in topological order.
    inputs
        ValueInfoProto of the inputs that somebody has to feed.
    """

    names: tuple[str, ...]
    nodes: tuple[Any, ...]
    reads: tuple[tuple[str, ...], ...]
    initializers: Mapping[str, Any]
    constant_nodes: Mapping[str, Any]
    inputs: tuple[Any, ...]

    def is_constant(self, tensor: str) -> bool:
        """Tell whether a value is the same in every inference."""
        return tensor in self.initializers or tensor in self.constant_nodes

    def stored(self, read: Iterable[str]) -> tuple[str, ...]:
        """Return the constants that an executor keeps for an op that reads these values.

        Of a constant that is dequantized those are the integers, their scale and their zero point.
        """
        kept: dict[str, None] = {}
        for name in filter(self.is_constant, read):
            maker = self.constant_nodes.get(name)
            if maker is not None and maker.op_type == "DequantizeLinear":
                kept.update(dict.fromkeys(filter(None, maker.input)))
            else:
                kept[name] = None
        return tuple(kept)

    def constant_cone(self, wanted: Iterable[str]) -> tuple[list[Any], list[Any]]:
        """Return the nodes and the initializers that some constants need, both in file order."""
        seen: set[str] = set()
        stack = [name for name in wanted if self.is_constant(name)]
        while stack:
            name = stack.pop()
            if name not in seen:
                seen.add(name)
                if name in self.constant_nodes:
                    stack += reads(self.constant_nodes[name])
        nodes = {id(node): node for name, node in self.constant_nodes.items() if name in seen}
        return list(nodes.values()), [tensor for name, tensor in self.initializers.items() if name in seen]


def reads(node: Any) -> tuple[str, ...]:
    """Return what a node reads from the graph it stands in: its inputs and what its bodies capture."""
    found = [name for name in node.input if name]
    for body in bodies(node):
        own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
        own.update(name for inner in body.node for name in inner.output)
        inner_reads = [name for inner in body.node for name in reads(inner)]
        inner_reads += [value.name for value in body.output]
        found += [name for name in inner_reads if name not in own]
    return tuple(dict.fromkeys(found))


def split_nodes(path: str, model: Any) -> OnnxNodes:
    """Tell the ops of a model from its constants, name them, and put them in order.

    Nodes from which no output of the model can be reached are left out: executors drop them too.

    Raises
    ------
    ProblemError
        The graph has a cycle, reads a value that nothing makes, makes one twice, or has nothing but constants.
    """
    graph = model.graph
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    fed = tuple(value for value in graph.input if value.name not in initializers)
    outputs = {value.name for value in graph.output}
    for name in sorted(outputs & initializers.keys()):
        raise ProblemError(f"{path}: the output {name!r} is a constant of the file; remove it from the outputs")

    order = _sorted_nodes(path, graph, {*initializers, *(value.name for value in fed)})
    constant_nodes: dict[str, Any] = {}
    candidates = []
    for node, node_reads in order:
        known = all(name in initializers or name in constant_nodes for name in node_reads)
        constant = known and not _is_random(node)
        if constant:
            constant_nodes.update((name, node) for name in node.output if name)
        # A constant that is an output of the model has to be sent by somebody, an op without inputs; ops that read it
        # have it by themselves.
        if not constant or outputs & set(node.output):
            candidates.append((node, node_reads))

    needed = set(outputs)
    kept = []
    for node, node_reads in reversed(candidates):
        if needed & set(node.output):
            needed.update(node_reads)
            kept.append((node, node_reads))
    kept.reverse()
    if not kept:
        raise ProblemError(f"{path}: no output depends on an op of the model; there is nothing to place")
    return OnnxNodes(
        names=_unique_names([node for node, _ in kept]),
        nodes=tuple(node for node, _ in kept),
        reads=tuple(node_reads for _, node_reads in kept),
        initializers=initializers,
        constant_nodes=constant_nodes,
        inputs=fed,
    )


def _is_random(node: Any) -> bool:
    return node.op_type in RANDOM or any(_is_random(inner) for body in bodies(node) for inner in body.node)


def _sorted_nodes(path: str, graph: Any, given: set[str]) -> list[tuple[Any, tuple[str, ...]]]:
    """Sort nodes topologically; file order wherever it already is topological."""
    all_reads = [reads(node) for node in graph.node]
    maker: dict[str, int] = {}
    for position, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in maker or name in given:
                raise ProblemError(f"{path}: the value {name!r} is made twice; names of values must be unique")
            maker[name] = position
    waits_for: list[int] = []
    readers: dict[int, list[int]] = {}
    for position, names in enumerate(all_reads):
        for name in names:
            if name not in maker and name not in given:
                raise ProblemError(
                    f"{path}: the {graph.node[position].op_type} node {graph.node[position].name!r} reads "
                    f"{name!r}, which nothing in the model makes"
                )
        makers = {maker[name] for name in names if name in maker}
        waits_for.append(len(makers))
        for source in makers:
            readers.setdefault(source, []).append(position)
    ready = [position for position, count in enumerate(waits_for) if count == 0]
    order = []
    while ready:
        position = heapq.heappop(ready)
        order.append((graph.node[position], all_reads[position]))
        for reader in readers.get(position, ()):
            waits_for[reader] -= 1
            if waits_for[reader] == 0:
                heapq.heappush(ready, reader)
    if len(order) < len(graph.node):
        stuck = next(node for node, count in zip(graph.node, waits_for, strict=True) if count)
        raise ProblemError(
            f"{path}: the graph has a cycle; the {stuck.op_type} node {stuck.name or stuck.output[0]!r} "
            "waits for its own result"
        )
    return order


def _unique_names(nodes: list[Any]) -> tuple[str, ...]:
    """Name ops as the file does, unnamed ones after their first output, repeated names with a number."""
    taken: set[str] = set()
    names = []
    for node in nodes:
        wish = node.name or next(filter(None, node.output))
        name, number = wish, 1
        while name in taken:
            number += 1
            name = f"{wish}#{number}"
        taken.add(name)
        names.append(name)
    return tuple(names)
