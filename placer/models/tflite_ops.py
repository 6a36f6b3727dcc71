"""Which operators of a TFLite model are ops to be placed, which must stay together, and which follow their readers.

Reading and cutting must agree on names, order and constants to the letter, so both ask here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import networkx as nx

from placer.errors import ProblemError
from placer.models.graph import DTYPE_BYTES
from placer.models.tflite_fusion import fused_pairs
from placer.models.tflite_sizes import unsettled_sizes

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from placer.models.tflite_model import TfliteFile, TfliteOperator, TfliteSubgraph

# Each execution of these gives something else, whatever they read.
RANDOM = frozenset({"MULTINOMIAL", "RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM", "STABLEHLO_RNG_BIT_GENERATOR"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteOps:
    """The operators of a model's main subgraph, told apart.

    Parameters
    ----------
    names
        Unique name of each op, in topological order: the kind and position of its first operator.
    members
        Positions of the operators of each op, in file order.
    reads
        Tensors that each op takes from outside of it, constants left out.
    makes
        Tensors of each op that others read or the model returns.
    constants
        Tensors that are the same in every inference: stored, or made from such alone.
    makers
        Position of the operator that makes each tensor that is not stored, by the tensor's index.
    """

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    reads: tuple[tuple[int, ...], ...]
    makes: tuple[tuple[int, ...], ...]
    constants: frozenset[int]
    makers: Mapping[int, int]

    def constant_cone(self, graph: TfliteSubgraph, positions: Iterable[int]) -> tuple[list[int], list[int]]:
        """Return the operators that make the constants which some operators need, and all tensors of that cone.

        Parameters
        ----------
        graph
            The main subgraph.
        positions
            Operators that need them.

        Returns
        -------
        tuple
            Positions of operators and indices of tensors, both in file order.
        """
        seen: set[int] = set()
        cone: set[int] = set()
        stack = [t for position in positions for t in graph.operators[position].inputs if t in self.constants]
        while stack:
            tensor = stack.pop()
            if tensor in seen:
                continue
            seen.add(tensor)
            if tensor in self.makers:
                cone.add(self.makers[tensor])
                stack += [t for t in graph.operators[self.makers[tensor]].inputs if t >= 0]
        return sorted(cone), sorted(seen)


def split_operators(file: TfliteFile) -> TfliteOps:
    """Tell the ops of a model from its constants, join what must stay together, and put them in order.

    Operators that share state, or a tensor that cannot be sent (a handle, text, a size that only values settle),
    are one op; so are those that LiteRT computes as one, and an operator with the subgraphs it calls. Ops from
    which no output can be reached are left out: nothing would come of running them.

    Raises
    ------
    ProblemError
        No output depends on an op.
    """
    graph = file.subgraphs[0]
    makers = {
        t: position
        for position, operator in enumerate(graph.operators)
        for t in operator.outputs
        if t >= 0 and not graph.tensors[t].buffer
    }
    constants, folded = _constants(graph, makers)
    placed = [position for position in range(len(graph.operators)) if position not in folded]
    together = _joined(file, graph, placed, constants)
    for first, second in fused_pairs(graph, constants, makers):
        together.union(first, second)
    ops = _live(graph, _ordered(graph, placed, together, makers), constants)
    if not ops:
        raise ProblemError("no output depends on an op of the model; there is nothing to place")
    reads = tuple(_read(graph, members, constants) for members in ops)
    wanted = {*graph.outputs, *(t for read in reads for t in read)}
    return TfliteOps(
        names=tuple(_name(graph, members[0]) for members in ops),
        members=tuple(ops),
        reads=reads,
        makes=tuple(tuple(t for t in _made(graph, members) if t in wanted) for members in ops),
        constants=constants,
        makers=makers,
    )


def _name(graph: TfliteSubgraph, position: int) -> str:
    return f"{graph.operators[position].kind.lower()}_{position}"


def _constants(graph: TfliteSubgraph, makers: Iterable[int]) -> tuple[frozenset[int], set[int]]:
    """Return the constant tensors, and the positions of the operators that make nothing else."""
    constants = set(range(len(graph.tensors))).difference(graph.inputs, makers)
    constants.difference_update(t for t, tensor in enumerate(graph.tensors) if tensor.is_variable)
    returned = set(graph.outputs)
    folded = set()
    for position, operator in enumerate(graph.operators):
        given = [t for t in operator.inputs if t >= 0]
        made = [t for t in operator.outputs if t >= 0]
        stored = made and constants.issuperset(made)
        known = given and constants.issuperset(given) and _repeats(operator)
        # A constant that is an output of the model has to be sent by somebody: an op without inputs.
        if stored or (known and not returned.intersection(made)):
            folded.add(position)
            constants.update(made)
    return frozenset(constants), folded


def _repeats(operator: TfliteOperator) -> bool:
    """Tell whether equal inputs give equal outputs every time, as far as can be known."""
    return operator.kind not in RANDOM and not operator.is_custom and operator.state is None and not operator.calls


def _joined(
    file: TfliteFile, graph: TfliteSubgraph, placed: Sequence[int], constants: frozenset[int]
) -> nx.utils.UnionFind:  # fmt: skip
    """Join the operators that no boundary may separate."""
    together = nx.utils.UnionFind(placed)
    kept = {t for t, tensor in enumerate(graph.tensors) if tensor.is_variable or tensor.dtype not in DTYPE_BYTES}
    kept = (kept | unsettled_sizes(graph)) - constants
    states = _states_of_bodies(file)
    first: dict[Hashable, int] = {}
    for position in placed:
        operator = graph.operators[position]
        keys: list[Hashable] = [t for t in (*operator.inputs, *operator.outputs) if t in kept]
        keys += [key for body in operator.calls for key in states[body]]
        keys += [] if operator.state is None else [operator.state]
        for key in keys:
            together.union(first.setdefault(key, position), position)
    return together


def _states_of_bodies(file: TfliteFile) -> dict[int, frozenset[Hashable]]:
    """Return what each subgraph opens that outlives the inference, itself or in those it calls."""
    states: dict[int, frozenset[Hashable]] = {}

    def find(index: int) -> frozenset[Hashable]:
        if index not in states:
            operators = file.subgraphs[index].operators
            own = {operator.state for operator in operators if operator.state is not None}
            states[index] = frozenset(own).union(*(find(body) for operator in operators for body in operator.calls))
        return states[index]

    for index in range(len(file.subgraphs)):
        find(index)
    return states


def _ordered(
    graph: TfliteSubgraph, placed: Sequence[int], together: nx.utils.UnionFind, makers: Mapping[int, int]
) -> list[tuple[int, ...]]:
    """Return the operators of each op, in topological order, joining ops that would wait for each other."""
    quotient = nx.DiGraph()
    quotient.add_nodes_from(together[position] for position in placed)
    known = set(placed)
    for position in placed:
        sources = {makers[t] for t in graph.operators[position].inputs if t in makers} & known
        quotient.add_edges_from((together[source], together[position]) for source in sources)
    condensed = nx.condensation(quotient)
    members: dict[int, list[int]] = {}
    for position in placed:
        members.setdefault(condensed.graph["mapping"][together[position]], []).append(position)
    order = nx.lexicographical_topological_sort(condensed, key=lambda component: members[component][0])
    return [tuple(members[component]) for component in order]


def _live(graph: TfliteSubgraph, ops: Sequence[tuple[int, ...]], constants: frozenset[int]) -> list[tuple[int, ...]]:
    """Return the ops from which an output can be reached."""
    needed = set(graph.outputs)
    live = []
    for members in reversed(ops):
        if needed.intersection(_made(graph, members)):
            needed.update(_read(graph, members, constants))
            live.append(members)
    return live[::-1]


def _made(graph: TfliteSubgraph, members: Sequence[int]) -> tuple[int, ...]:
    return tuple(t for position in members for t in graph.operators[position].outputs if t >= 0)


def _read(graph: TfliteSubgraph, members: Sequence[int], constants: frozenset[int]) -> tuple[int, ...]:
    inside = {*_made(graph, members), -1}
    read = dict.fromkeys(t for position in members for t in graph.operators[position].inputs)
    return tuple(t for t in read if t not in inside and t not in constants and not graph.tensors[t].is_variable)
