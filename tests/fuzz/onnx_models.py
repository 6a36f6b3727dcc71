"""Reads and cuts damaged ONNX models; a process of its own, since what is looked for may end it."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from placer.errors import ProblemError
from placer.models.cut import cut
from placer.models.read_onnx import read_onnx
from tests.fuzz.mutate import damaged


def models() -> list[onnx.ModelProto]:
    """Small models with what breaks readers: weights, a branch and a join, a body, a local function."""
    import numpy as np

    def info(name, shape, kind=TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, kind, shape)

    weights = numpy_helper.from_array(np.ones((2, 1, 3, 3), np.float32), "w")
    plain = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="conv", kernel_shape=[3, 3]),
            helper.make_node("Relu", ["c"], ["r"], name="relu"),
            helper.make_node("Sigmoid", ["c"], ["s"], name="sigmoid"),
            helper.make_node("Mul", ["r", "s"], ["y"], name="mul"),
        ],
        "plain", [info("x", [1, 1, 8, 8])], [info("y", [1, 2, 6, 6])], [weights],
    )  # fmt: skip
    then, other = (
        helper.make_graph([helper.make_node(op, ["a"], ["b"])], op, [], [info("b", [4])]) for op in ("Neg", "Abs")
    )
    branching = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["a"]),
            helper.make_node("If", ["which"], ["z"], then_branch=then, else_branch=other),
            helper.make_node("twice", ["z"], ["y"], domain="own"),
        ],
        "branching", [info("x", [4]), info("which", [], TensorProto.BOOL)], [info("y", [4])],
    )  # fmt: skip
    twice = helper.make_function(
        "own", "twice", ["p"], ["q"], [helper.make_node("Add", ["p", "p"], ["q"])], [helper.make_opsetid("", 18)]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    return [
        helper.make_model(plain, opset_imports=opsets[:1], ir_version=9),
        helper.make_model(branching, opset_imports=opsets, ir_version=9, functions=[twice]),
    ]


def rewired(model: onnx.ModelProto, rng: random.Random) -> bytes:
    """Give a well-formed file whose graph does not hold together."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    names = [n for node in made.graph.node for n in (*node.input, *node.output)] + ["", "nothing"]
    for _ in range(rng.choice((1, 1, 2, 5))):
        node = rng.choice(made.graph.node)
        kind = rng.randrange(8)
        if kind == 0 and node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        elif kind == 1:
            node.output[rng.randrange(len(node.output))] = rng.choice(names)
        elif kind == 2:
            node.op_type = rng.choice(("Relu", "Conv", "If", "Loop", "Reshape", "Nonsense", ""))
        elif kind == 3:
            made.graph.node.append(node)
        elif kind == 4:
            dims = rng.choice((*made.graph.input, *made.graph.output)).type.tensor_type.shape.dim
            dims.add(dim_value=rng.choice((-1, 0, 2**31, 2**62)))
        elif kind == 5 and node.attribute:
            attribute = rng.choice(node.attribute)
            attribute.type = rng.randrange(0, 14)
        elif kind == 6 and made.graph.initializer:
            tensor = rng.choice(made.graph.initializer)
            tensor.dims[:] = [rng.choice((0, -3, 7, 2**40))]
            tensor.data_type = rng.randrange(0, 24)
        else:
            node.domain = rng.choice(("own", "other", "ai.onnx.ml"))
    return made.SerializeToString()


def main(seed: int, count: int) -> None:
    """Try some; what is no ProblemError ends the process with its trace."""
    rng = random.Random(seed)
    known = models()
    went_well = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        for turn in range(count):
            model = rng.choice(known)
            content = rewired(model, rng) if rng.random() < 0.5 else damaged(model.SerializeToString(), rng)
            path.write_bytes(content)
            try:
                graph = read_onnx(path, {})
                ops = [op.name for op in graph.ops]
                at = rng.randrange(len(ops) + 1)
                cut(graph, [part for part in (ops[:at], ops[at:]) if part])
                went_well += 1
            except ProblemError:
                pass
            except BaseException:
                Path(f"{tempfile.gettempdir()}/placer-fuzz-{seed}-{turn}.onnx").write_bytes(content)
                print(f"seed {seed}, turn {turn}", file=sys.stderr, flush=True)
                raise
    print(went_well)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
