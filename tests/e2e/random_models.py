"""Random branching ONNX models: skips, joins of two and more tensors, ops with several outputs, shared weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (1, 8, 6, 6)


def random_model(rng: np.random.Generator, count: int = 14) -> onnx.ModelProto:
    """A model of about `count` steps over feature maps, each of which takes what any earlier step made.

    Whatever no step takes is an output, and so is a tensor in the middle that others take too.
    """
    nodes: list[onnx.NodeProto] = []
    weights = {
        "w": rng.normal(0, 0.15, (8, 8, 3, 3)),
        "pointwise": rng.normal(0, 0.3, (8, 16, 1, 1)),
        "bias": rng.normal(0, 0.1, (8,)),
    }
    made = ["x"]
    unread: set[str] = set()

    def node(kind: str, inputs: list[str], outputs: int = 1, **attributes: object) -> list[str]:
        names = [f"t{len(nodes)}_{i}" for i in range(outputs)]
        nodes.append(helper.make_node(kind, inputs, names, name=f"{kind.lower()}{len(nodes)}", **attributes))
        unread.difference_update(inputs)
        unread.update(names)
        return names

    def one() -> str:
        # Mostly recent tensors, now and then one from far back.
        return made[-1 - min(len(made) - 1, int(rng.geometric(0.4)) - 1)]

    def any_of(count: int) -> list[str]:
        return [str(name) for name in rng.choice(made, size=count)]

    def split() -> list[str]:
        halves = node("Split", [one()], 2, axis=1)
        return node("Concat", halves[::-1], axis=1)

    steps: list[Callable[[], list[str]]] = [
        lambda: node("Conv", [one(), "w", "bias"], pads=[1, 1, 1, 1]),
        lambda: node("Relu", [one()]),
        lambda: node("Sigmoid", [one()]),
        lambda: node("Add", any_of(2)),
        lambda: node("Max", any_of(3)),
        lambda: node("Conv", [*node("Concat", any_of(2), axis=1), "pointwise"]),
        lambda: node("Sub", [one(), *node("GlobalAveragePool", [one()])]),
        split,
    ]
    for _ in range(count):
        made += steps[rng.integers(len(steps))]()
    outputs = sorted(unread | {made[len(made) // 2]} - {"x"})
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in outputs],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    used = {name for n in nodes for name in n.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
