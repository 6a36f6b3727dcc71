import numpy as np
import pytest

from placer.models.read_tflite import read_tflite
from placer.models.tflite_file import load_tflite
from placer.models.tflite_ops import split_operators
from tests.placer.tflite_models import Builtin, Options, Type, operator, schema, subgraph, tensor, write

HANDLE = {"kind": Type.RESOURCE}


@pytest.fixture
def grouped(tmp_path):
    """Return a function from a main subgraph to the kinds of each of its ops."""

    def split(kinds, tensors, operators, inputs, outputs, bodies=(), weights=()):
        main = subgraph(tensors, operators, inputs, outputs)
        path = write(tmp_path / "m.tflite", kinds, [main, *bodies], weights)
        return [op.type for op in read_tflite(path).ops]

    return split


def handle(index, made, name):
    return operator(index, [], [made], schema.VarHandleOptionsT(sharedName=name), Options.VarHandleOptions)


@pytest.mark.parametrize(("second", "ops"), [("s", 1), ("t", 2)])
def test_operators_on_one_variable_are_one_op(grouped, second, ops):
    kinds = [Builtin.VAR_HANDLE, Builtin.READ_VARIABLE, Builtin.ASSIGN_VARIABLE]
    tensors = [tensor("x", (2,)), tensor("h", (1,), **HANDLE), tensor("i", (1,), **HANDLE)]
    tensors += [tensor("y", (2,)), tensor("z", (2,))]
    operators = [handle(0, 1, "s"), handle(0, 2, second), operator(1, [1], [3]), operator(1, [2], [4])]
    operators += [operator(2, [1, 0], [])]
    assert len(grouped(kinds, tensors, operators, [0], [3, 4])) == ops


def test_variables_and_tables_without_a_name_are_one_each(grouped):
    kinds = [Builtin.VAR_HANDLE, Builtin.READ_VARIABLE, Builtin.HASHTABLE, Builtin.HASHTABLE_SIZE]
    tensors = [
        tensor("x", (2,)),
        *(tensor(name, (1,), **HANDLE) for name in "hijk"),
        *(tensor(n, (2,)) for n in "abcd"),
    ]
    others = schema.AddOptionsT()
    makers = [operator(0, [], [1]), operator(0, [], [2], others, Options.AddOptions)]
    makers += [operator(2, [], [3]), operator(2, [], [4], others, Options.AddOptions)]
    readers = [operator(1 + 2 * (i > 1), [1 + i], [5 + i]) for i in range(4)]
    wanted = ["VAR_HANDLE+READ_VARIABLE", "HASHTABLE+HASHTABLE_SIZE"]
    assert grouped(kinds, tensors, makers + readers, [0], [5, 6, 7, 8]) == wanted


def test_what_lies_between_two_halves_of_a_state_belongs_to_it(grouped):
    kinds = [Builtin.VAR_HANDLE, Builtin.READ_VARIABLE, Builtin.NEG, Builtin.ASSIGN_VARIABLE]
    tensors = [tensor("x", (2,)), tensor("h", (1,), **HANDLE), tensor("old", (2,)), tensor("new", (2,))]
    operators = [handle(0, 1, "s"), operator(1, [1], [2]), operator(2, [2], [3]), operator(3, [1, 3], [])]
    assert grouped(kinds, tensors, operators, [0], [3]) == ["VAR_HANDLE+READ_VARIABLE+NEG+ASSIGN_VARIABLE"]


def test_what_fills_a_variable_from_a_body_stays_with_it(grouped):
    kinds = [Builtin.CALL_ONCE, Builtin.VAR_HANDLE, Builtin.READ_VARIABLE, Builtin.ASSIGN_VARIABLE, Builtin.NEG]
    body = subgraph(
        [tensor("h", (1,), **HANDLE), tensor("w", (2,), buffer=1)], [handle(1, 0, "s"), operator(3, [0, 1], [])], [], []
    )
    tensors = [tensor("x", (2,)), tensor("h", (1,), **HANDLE), tensor("y", (2,)), tensor("z", (2,))]
    once = operator(0, [], [], schema.CallOnceOptionsT(initSubgraphIndex=1), Options.CallOnceOptions)
    operators = [once, operator(4, [0], [3]), handle(1, 1, "s"), operator(2, [1], [2])]
    weights = [np.ones(2, np.float32)]
    # By the first operator of each: nothing makes the order of independent ops, so the file's stands.
    wanted = ["CALL_ONCE+VAR_HANDLE+READ_VARIABLE", "NEG"]
    assert grouped(kinds, tensors, operators, [0], [2, 3], [body], weights) == wanted


@pytest.mark.parametrize(
    ("held", "ops"),
    [
        ({"kind": Type.FLOAT32}, ["NEG", "NEG"]),
        ({"kind": Type.STRING}, ["NEG"]),
        ({"kind": Type.COMPLEX64}, ["NEG"]),
        ({"kind": Type.VARIANT}, ["NEG"]),
        ({"signature": [-1]}, ["NEG"]),
    ],
)
def test_what_cannot_be_sent_has_its_reader_beside_it(grouped, held, ops):
    tensors = [tensor("x", (2,)), tensor("a", (2,), **held), tensor("y", (2,))]
    operators = [operator(0, [0], [1]), operator(0, [1], [2])]
    assert grouped([Builtin.NEG], tensors, operators, [0], [2]) == ops


def test_an_open_batch_is_no_reason_to_stay_together_but_a_size_of_values_is(grouped):
    kinds = [Builtin.NEG, Builtin.WHERE, Builtin.SHAPE]
    tensors = [tensor(name, (2, 1), signature=[-1, 1]) for name in ("x", "a", "b", "c")] + [tensor("y", (2,))]
    operators = [operator(0, [0], [1]), operator(1, [1], [2]), operator(0, [2], [3]), operator(2, [3], [4])]
    assert grouped(kinds, tensors, operators, [0], [4]) == ["NEG", "WHERE+NEG+SHAPE"]


def test_operators_with_one_variable_tensor_are_one_op(grouped):
    tensors = [tensor("x", (2,)), tensor("v", (2,), variable=True), tensor("y", (2,)), tensor("z", (2,))]
    operators = [operator(0, [0, 1], [2]), operator(1, [2], [3]), operator(0, [3, 1], [4])]
    tensors.append(tensor("w", (2,)))
    assert grouped([Builtin.SVDF, Builtin.NEG], tensors, operators, [0], [4]) == ["SVDF+NEG"]


@pytest.mark.parametrize(
    ("kind", "ops"),
    [
        (Builtin.DEQUANTIZE, ["ADD"]),
        (Builtin.RANDOM_UNIFORM, ["RANDOM_UNIFORM", "ADD"]),
        (Builtin.CUSTOM, ["CUSTOM", "ADD"]),
    ],
)
def test_only_what_repeats_is_a_constant(grouped, kind, ops):
    tensors = [tensor("x", (2,)), tensor("w", (2,), buffer=1), tensor("c", (2,)), tensor("y", (2,))]
    operators = [operator(0, [1], [2]), operator(1, [0, 2], [3])]
    assert grouped([kind, Builtin.ADD], tensors, operators, [0], [3], weights=[np.ones(2, np.float32)]) == ops


def test_a_made_constant_that_is_returned_is_an_op_without_inputs(grouped):
    tensors = [tensor("x", (2,)), tensor("w", (2,), buffer=1), tensor("c", (2,)), tensor("y", (2,))]
    operators = [operator(0, [1], [2]), operator(1, [0, 2], [3])]
    weights = [np.ones(2, np.float32)]
    made = grouped([Builtin.DEQUANTIZE, Builtin.ADD], tensors, operators, [0], [3, 2], weights=weights)
    assert made == ["DEQUANTIZE", "ADD"]


def test_what_no_output_needs_is_left_out(grouped):
    tensors = [tensor(name, (2,)) for name in ("x", "y", "z", "w")]
    operators = [operator(0, [0], [1]), operator(1, [1], [2]), operator(0, [2], [3])]
    assert grouped([Builtin.NEG, Builtin.ABS], tensors, operators, [0], [1]) == ["NEG"]


def test_constants_that_constants_need_are_found(tmp_path):
    tensors = [tensor("x", (2,)), tensor("w", (2,), Type.FLOAT16, buffer=1), tensor("d", (2,), Type.FLOAT16)]
    tensors += [tensor("c", (2,)), tensor("y", (2,)), tensor("z", (2,))]
    operators = [operator(0, [1], [2]), operator(1, [2], [3]), operator(2, [0, 3], [4]), operator(3, [4], [5])]
    kinds = [Builtin.DENSIFY, Builtin.DEQUANTIZE, Builtin.ADD, Builtin.NEG]
    path = write(tmp_path / "m.tflite", kinds, [subgraph(tensors, operators, [0], [5])], [np.ones(2, np.float16)])
    file = load_tflite(path)
    ops = split_operators(file)
    assert (ops.names, ops.members) == (("add_2", "neg_3"), ((2,), (3,)))
    assert ops.constant_cone(file.subgraphs[0], [2]) == ([0, 1], [1, 2, 3])
    assert ops.constant_cone(file.subgraphs[0], [3]) == ([], [])
    assert [op.weights_bytes for op in read_tflite(path).ops] == [4, 0]


@pytest.mark.parametrize(
    ("kinds", "operators", "ops"),
    [
        ([Builtin.MUL, Builtin.MEAN], [operator(0, [0, 0], [2]), operator(1, [2, 1], [3])], ["MUL+MEAN"]),
        ([Builtin.SQUARE, Builtin.SUM], [operator(0, [0], [2]), operator(1, [2, 1], [3])], ["SQUARE+SUM"]),
        ([Builtin.MUL, Builtin.MEAN], [operator(0, [0, 1], [2]), operator(1, [2, 1], [3])], ["MUL", "MEAN"]),
        ([Builtin.SUM, Builtin.DIV], [operator(0, [0, 1], [2]), operator(1, [2, 1], [3])], ["SUM+DIV"]),
        ([Builtin.SUM, Builtin.MUL], [operator(0, [0, 1], [2]), operator(1, [2, 0], [3])], ["SUM", "MUL"]),
        ([Builtin.MEAN, Builtin.MUL], [operator(0, [0, 1], [2]), operator(1, [2, 1], [3])], ["MEAN", "MUL"]),
    ],
)
@pytest.mark.parametrize("dtype", [Type.FLOAT32, Type.INT8])
def test_what_litert_computes_as_one_is_one_op(grouped, kinds, operators, ops, dtype):
    tensors = [tensor("x", (4,), dtype), tensor("c", (1,), dtype, buffer=1)]
    tensors += [tensor("a", (4,), dtype), tensor("y", (4,), dtype)]
    weights = [np.ones(1, np.float32 if dtype == Type.FLOAT32 else np.int8)]
    apart = [kind for op in ops for kind in op.split("+")]
    # Of integers nothing is rounded away in between.
    assert grouped(kinds, tensors, operators, [0], [3], weights=weights) == (ops if dtype == Type.FLOAT32 else apart)
