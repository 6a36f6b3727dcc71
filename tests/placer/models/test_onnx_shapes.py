import onnx
import onnx.parser
import pytest

from placer.errors import ProblemError
from placer.models.read_onnx import read_onnx

TWO_INPUTS = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, 3] left, float[batch, 3] right) => (float[batch, 3] y) { y = Add (left, right) }
"""


def test_a_dynamic_dimension_is_refused_with_its_name_and_the_way_to_bind_it(small):
    with pytest.raises(ProblemError) as refusal:
        read_onnx(small(TWO_INPUTS))
    message = str(refusal.value)
    assert "input 'left' has the dynamic dimension 'batch' (axis 0" in message
    assert "inputs: {left: [1, 3]}" in message


def test_a_symbol_bound_by_one_input_holds_for_all(small):
    graph = read_onnx(small(TWO_INPUTS), {"left": (5, 3)})
    assert {tensor.name: tensor.shape for tensor in graph.tensors.values()} == dict.fromkeys(
        ("left", "right", "y"), (5, 3)
    )


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        ({"lefd": [1, 3]}, "no input 'lefd' to bind.*did you mean 'left'"),
        ({"left": [1, 2, 3]}, "has 2 dimensions"),
        ({"left": [1, 4]}, r"cannot be \[1, 4\]: it is declared as \['batch', 3\]"),
        ({"left": [0, 3]}, r"cannot be \[0, 3\]"),
        ({"left": [2, 3], "right": [1, 3]}, r"'right' cannot be \[1, 3\].*'batch' is 2 already"),
    ],
)
def test_bindings_that_do_not_fit_are_refused(small, bindings, message):
    with pytest.raises(ProblemError, match=message):
        read_onnx(small(TWO_INPUTS), bindings)


def test_an_input_without_a_shape_can_be_bound(small, tmp_path):
    model = onnx.load(small(TWO_INPUTS))
    for value in model.graph.input:
        value.type.tensor_type.ClearField("shape")
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ProblemError, match="input 'left' has no shape"):
        read_onnx(tmp_path / "m.onnx")
    graph = read_onnx(tmp_path / "m.onnx", {"left": [2, 3], "right": [1, 3]})
    assert graph.outputs[0].shape == (2, 3)


def test_what_inference_leaves_open_is_read_off_a_run(small):
    graph = read_onnx(small("known_by_a_run"))
    assert graph.tensors["big"].shape == (4, 6)
    assert graph.outputs[0].shape == (4, 6)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ("positive = Relu (x)  y = NonZero (positive)", r"op 'y' \(NonZero\): the shape of 'y' depends on the data"),
        ("top = ReduceMax (x)  big = Mul (top, ten)  n = Cast <to = 7> (big)  y = Expand (one, n)",
         r"op 'y' \(Expand\): the shape of 'y' depends on the data: \[\d+\] in one run"),
    ],
)  # fmt: skip
def test_a_shape_that_depends_on_the_data_is_refused(small, nodes, message):
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[50] x) => (int64[...] y) <float ten = {{100}}, int64 one = {{1}}> {{ {nodes} }}"""
    with pytest.raises(ProblemError, match=message):
        read_onnx(small(text.replace("[...]", "[n]" if "Expand" in nodes else "[1, n]")))


def test_an_operator_nobody_knows_is_refused_with_its_name(small):
    text = """
    <ir_version: 8, opset_import: ["" : 17, "nowhere" : 1]>
    g (float[2] x) => (float[n] y) { a = nowhere.Secret (x)  y = Relu (a) }"""
    with pytest.raises(ProblemError, match=r"op 'a' \(Secret\): the shape of 'a' is unknown"):
        read_onnx(small(text))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("(float[4, 2] x) => (float[4, 2] y) { s = SplitToSequence (x)  y = ConcatFromSequence <axis = 0> (s) }",
         "'s' is a sequence, not a tensor"),
        ("(string[2] x) => (string[2] y) { y = Identity (x) }", "type string, which agents cannot exchange"),
        ("(seq(float[2]) x) => (float[2] y) { y = ConcatFromSequence <axis = 0> (x) }", "'x' is a sequence_type"),
    ],
)  # fmt: skip
def test_values_that_are_no_plain_tensors_are_refused(small, body, message):
    with pytest.raises(ProblemError, match=message):
        read_onnx(small(f'<ir_version: 8, opset_import: ["" : 17]> g {body}'))
