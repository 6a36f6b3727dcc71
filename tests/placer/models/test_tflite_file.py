import numpy as np
import pytest

from placer.errors import ProblemError
from placer.models.tflite_file import load_tflite
from placer.models.tflite_model import CALL_FIELDS, CALL_LIST_FIELDS
from tests.placer.tflite_models import Builtin, Options, Type, add, model, operator, pack, schema, subgraph, tensor


def two_adds():
    tensors = [tensor("x", (2,)), tensor("w", (2,), buffer=1), tensor("a", (2,)), tensor("y", (2,))]
    main = subgraph(tensors, [add(0, 1, 2), add(2, 1, 3)], [0], [3])
    return model([Builtin.ADD, Builtin.CALL], [main], [np.ones(2, np.float32)])


def main_of(made):
    return made.subgraphs[0]


def set_field(of, name, value):
    def change(made):
        setattr(of(made), name, value)

    return change


def first_add(made):
    return main_of(made).operators[0]


def call(made):
    """Let the main subgraph and another call each other."""
    options = [schema.CallOptionsT(subgraph=1), schema.CallOptionsT(subgraph=0)]
    made.subgraphs.append(subgraph([tensor("x", (2,))], [], [0], [0]))
    for graph, called in zip(made.subgraphs, options, strict=True):
        graph.operators.append(operator(1, [0], [], called, Options.CallOptions))


def nest(made):
    """Let 65 subgraphs call one another, each the next."""
    for index in range(1, 66):
        options = schema.CallOptionsT(subgraph=index)
        made.subgraphs[-1].operators.append(operator(1, [0], [], options, Options.CallOptions))
        made.subgraphs.append(subgraph([tensor("x", (2,))], [], [0], [0]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_field(lambda made: made, "subgraphs", []), "the model has no subgraphs"),
        (set_field(main_of, "inputs", [4]), r"inputs \[4\] are not all among the 4 tensors"),
        (set_field(main_of, "outputs", [-1]), r"outputs \[-1\] are not all among the 4 tensors"),
        (set_field(first_add, "inputs", [0, 9]), r"operator 0 \(ADD\) names tensor 9; there are 4"),
        (set_field(first_add, "intermediates", [-2]), r"operator 0 \(ADD\) names tensor -2; there are 4"),
        (set_field(first_add, "inputs", [3, 1]), r"operator 0 \(ADD\) reads 'y', which nothing before it makes"),
        (set_field(first_add, "outputs", [1]), r"operator 0 \(ADD\) makes 'w', which is there already"),
        (set_field(first_add, "outputs", [0]), r"operator 0 \(ADD\) makes 'x', which is there already"),
        (set_field(main_of, "operators", []), "nothing makes the output 'y'"),
        (set_field(first_add, "opcodeIndex", 7), "an operator is of code 7; the file has 2"),
        (set_field(lambda made: made.operatorCodes[0], "builtinCode", 30000), "operator 30000 is unknown to the insta"),
        (set_field(lambda made: main_of(made).tensors[1], "buffer", 5), "tensor 'w' is in buffer 5; the file has 2"),
        (
            set_field(lambda made: main_of(made).tensors[1], "shape", [3]),
            r"'w': float32 \[3\] is 12 bytes, but its buff",
        ),
        (set_field(lambda made: main_of(made).tensors[0], "shape", [-2]), r"'x' has a negative dimension: \[-2\]"),
        (set_field(lambda made: main_of(made).tensors[0], "type", 99), "tensor 'x' has the unknown type 99"),
        (call, r"subgraphs \[0, 1\] call each other without end"),
        (nest, "subgraphs call each other 65 deep; at most 64 are read"),
        (lambda made: call(made) or made.subgraphs.pop(), "a CALL calls subgraph 1; the file has 1"),
        (
            set_field(lambda made: made, "externalBuffers", [schema.ExternalBufferT()]),
            "its weights are in other files; convert it to a single file",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path, change, says):
    made = two_adds()
    change(made)
    path = tmp_path / "m.tflite"
    path.write_bytes(pack(made))
    with pytest.raises(ProblemError, match=rf"m\.tflite: .*{says}"):
        load_tflite(path)


def test_a_file_is_decoded_into_types_that_hold(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(pack(two_adds()))
    file = load_tflite(path)
    (graph,) = file.subgraphs
    assert [(one.name, one.shape, one.dtype, one.bytes) for one in graph.tensors[:2]] == [
        ("x", (2,), "float32", 8),
        ("w", (2,), "float32", 8),
    ]
    assert [(one.kind, one.inputs, one.outputs) for one in graph.operators] == [
        ("ADD", (0, 1), (2,)),
        ("ADD", (2, 1), (3,)),
    ]
    assert [buffer.tobytes() for buffer in file.buffers] == [b"", np.ones(2, np.float32).tobytes()]


def test_an_empty_constant_needs_no_maker(tmp_path):
    made = two_adds()
    main_of(made).tensors[1] = tensor("w", (0,), Type.INT32)
    path = tmp_path / "m.tflite"
    path.write_bytes(pack(made))
    assert load_tflite(path).subgraphs[0].tensors[1].bytes == 0


def test_every_option_that_names_subgraphs_is_known():
    named = {
        field
        for name, options in vars(schema).items()
        if name.endswith("OptionsT")
        for field in vars(options())
        if "ubgraph" in field or "omputations" in field
    }
    assert named == {*CALL_FIELDS, *CALL_LIST_FIELDS}
