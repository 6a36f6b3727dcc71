import numpy as np
import pytest

from placer.models.cut import cut
from placer.models.read_tflite import read_tflite
from placer.models.tflite_file import load_tflite
from placer.models.tflite_sizes import unsettled_sizes
from tests.placer.tflite_models import (
    Builtin,
    Options,
    Type,
    assert_same_bits,
    decode,
    operator,
    schema,
    subgraph,
    tensor,
    write,
)


def reshaping(tmp_path, out_type=Type.INT32, outputs=(3,), kinds=(Builtin.NEG, Builtin.SHAPE, Builtin.RESHAPE)):
    """x -> NEG -> a; SHAPE(x) -> s; RESHAPE(a, s) -> y: a question for a shape that is no constant of the file."""
    tensors = [tensor("x", (2, 3), signature=[-1, 3]), tensor("a", (2, 3)), tensor("s", (2,), out_type)]
    tensors.append(tensor("y", (2, 3), signature=[-1, 3]))
    ask = schema.ShapeOptionsT(outType=out_type)
    operators = [operator(0, [0], [1]), operator(1, [0], [2], ask, Options.ShapeOptions), operator(2, [1, 2], [3])]
    return write(tmp_path / "m.tflite", kinds, [subgraph(tensors, operators, [0], list(outputs))])


def test_a_known_shape_is_a_constant_and_no_op(tmp_path):
    graph = read_tflite(reshaping(tmp_path))
    assert [op.type for op in graph.ops] == ["NEG", "RESHAPE"]
    assert "s" not in graph.tensors
    _, second = cut(graph, [["neg_0"], ["reshape_2"]])
    model = decode(second.blob)
    (answer,) = (one for one in model.subgraphs[0].tensors if one.name == b"s")
    assert model.buffers[answer.buffer].data.view(np.int32).tolist() == [2, 3]
    assert_same_bits(graph, [["neg_0"], ["reshape_2"]], seed=0)


@pytest.mark.parametrize(
    ("changed", "ops"),
    [
        ({"out_type": Type.INT64}, ["NEG", "RESHAPE"]),
        ({"out_type": Type.INT8}, ["NEG", "SHAPE", "RESHAPE"]),
        ({"outputs": (3, 2)}, ["NEG", "SHAPE", "RESHAPE"]),
        ({"kinds": (Builtin.NEG, Builtin.RANK, Builtin.RESHAPE)}, ["NEG", "RANK", "RESHAPE"]),
    ],
)
def test_only_shapes_that_nobody_else_wants_are_answered(tmp_path, changed, ops):
    assert [op.type for op in read_tflite(reshaping(tmp_path, **changed)).ops] == ops


def test_the_shape_of_what_values_settle_is_not_answered(tmp_path):
    tensors = [tensor("x", (4,), Type.BOOL), tensor("at", (4, 1), Type.INT64), tensor("s", (2,), Type.INT32)]
    tensors.append(tensor("y", (2,), Type.INT32))
    operators = [operator(0, [0], [1]), operator(1, [1], [2]), operator(2, [2], [3])]
    kinds = [Builtin.WHERE, Builtin.SHAPE, Builtin.NEG]
    path = write(tmp_path / "m.tflite", kinds, [subgraph(tensors, operators, [0], [3])])
    graph = load_tflite(path).subgraphs[0]
    assert unsettled_sizes(graph) == {1}
    assert graph.tensors[2].buffer == 0
