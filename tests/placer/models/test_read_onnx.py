import onnx
import pytest

from placer.demo_data import INPUT_NAME, INPUT_SHAPE, MODEL
from placer.errors import ProblemError
from placer.models.cut import cut
from placer.models.read_onnx import read_onnx

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '


@pytest.mark.parametrize(
    ("name", "ops", "macs", "weights_bytes"),
    [
        # 4.1 G multiply-adds, 25.6 M parameters: torchvision's table for ResNet-50 at 224 x 224.
        ("resnet50", 176, 4_089_184_256, 102_440_624),
        # 0.35 G, 1.24 M parameters: torchvision's for SqueezeNet 1.1.
        ("squeezenet", 66, 349_151_936, 4_941_984),
        # 2.83 G, 8.0 M parameters: torchvision's for DenseNet-121.
        ("densenet121", 668, 2_834_161_664, 32_584_608),
    ],
)
def test_real_models_have_the_published_macs_and_weights(zoo, name, ops, macs, weights_bytes):
    graph = read_onnx(zoo(name))
    assert len(graph.ops) == ops
    assert graph.macs == macs
    assert sum(op.weights_bytes for op in graph.ops) == weights_bytes
    assert graph.numeric == "fp32"


def test_the_demo_model():
    graph = read_onnx(str(MODEL), {INPUT_NAME: INPUT_SHAPE})
    assert (len(graph.ops), graph.macs, graph.name, graph.format) == (112, 154_425_600, "orientation", "onnx")
    assert graph.outputs[0].shape == (1, 4)
    assert graph.tensors["p2o.pd_op.hardswish.0.0"].bytes == 16 * 112 * 112 * 4
    assert "Shape" not in {op.type for op in graph.ops}


def test_reading_changes_nothing_and_repeats(each_small):
    before = each_small.read_bytes()
    bindings = {"x": [4, 3]} if each_small.stem == "shape_chain" else {}
    first, second = read_onnx(each_small, bindings), read_onnx(str(each_small), bindings)
    assert first == second
    assert each_small.read_bytes() == before


def test_constants_are_no_ops_and_no_inputs(small):
    graph = read_onnx(small("constant_nodes"))
    assert [op.name for op in graph.ops] == ["a", "b", "x_again", "d", "y"]
    assert graph.ops[0].inputs == ("x",)
    assert graph.ops[0].weights_bytes == 12
    assert [tensor.name for tensor in read_onnx(small("old_ir")).inputs] == ["x"]


def test_shared_weights_have_one_id(small):
    first, second, _ = read_onnx(small("old_ir")).ops
    assert first.weights_id == second.weights_id != ""
    assert read_onnx(small("qdq")).ops[2].weights_id != first.weights_id


def test_captured_values_are_inputs(small):
    branch = read_onnx(small("if_captures")).ops[1]
    assert branch.inputs == ("flag", "shifted", "x")
    assert branch.weights_bytes == 48
    loop = read_onnx(small("loop")).ops[1]
    assert (loop.type, loop.inputs) == ("Loop", ("start",))


@pytest.mark.parametrize(
    ("body", "inside"),
    [
        (
            "(float[1, 2] x, bool flag) => (float[1, 2] y) { y = If (flag) <"
            "then_branch = a () => (float[1, 2] t) <float[2, 2] w = {1, 2, 3, 4}> { t = MatMul (x, w) }, "
            "else_branch = b () => (float[1, 2] e) { v = Constant <value_floats = [1.0, 2.0]> () e = Mul (x, v) }> }",
            16 + 8,
        ),
        (
            '(float[1, 2] x) => (float[1, 2] y) { y = local.Twice (x) } <domain: "local", opset_import: ["" : 17]> '
            'Twice (v) => (o) { a = local.Dense (v) o = local.Dense (a) } <domain: "local", opset_import: ["" : 17]> '
            "Dense (v) => (o) { w = Constant <value = float[2, 2] {1, 2, 3, 4}> () o = MatMul (v, w) }",
            2 * 16,
        ),
        (
            "(float[1, 2] x) => (float[1, 1] y) "
            "{ y = ai.onnx.ml.LinearRegressor <coefficients = [1.0, 2.0], intercepts = [3.0]> (x) }",
            12,
        ),
        ("(float[1, 2] x) => (float[1, 2] y) { y = LeakyRelu <alpha = 0.5> (x) }", 0),
    ],
)
def test_weights_count_wherever_an_op_holds_them(small, body, inside):
    head = '<ir_version: 8, opset_import: ["" : 17, "local" : 1, "ai.onnx.ml" : 3]> g '
    (op,) = read_onnx(small(head + body)).ops
    assert (op.weights_bytes, bool(op.weights_id)) == (inside, inside > 0)


def test_integers_stay_integers_at_a_quantized_boundary(small):
    graph = read_onnx(small("qdq"))
    assert graph.numeric == "int8"
    assert graph.tensors["x_q"].bytes == 4
    matmul = next(op for op in graph.ops if op.type == "MatMul")
    assert matmul.weights_bytes == 8 + 4 + 1  # int8 weights, a float scale, an int8 zero point


@pytest.mark.parametrize(
    ("weights", "made"),
    [
        ("<float[4, 6] stored>", "w = QuantizeLinear (stored, scale, zero)"),
        ("", "w = Constant <value = int8[4, 6] {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, "
         "21, 22, 23, 24}> ()"),
    ],
)  # fmt: skip
def test_integers_count_however_the_file_comes_by_them(small, weights, made):
    numbers = "float scale = {0.5}, int8 zero = {0}"
    stored = f"<{numbers}, float[4, 6] stored = {{{', '.join(['1'] * 24)}}}>" if weights else f"<{numbers}>"
    graph = read_onnx(small(HEAD + f"(float[2, 4] x) => (float[2, 6] y) {stored} {{ {made} "
        "d = DequantizeLinear (w, scale, zero) y = MatMul (x, d) }"))  # fmt: skip
    (matmul,) = graph.ops
    assert matmul.weights_bytes == 4 * 6 + 4 + 1


def test_constants_that_follow_the_inputs_shapes_are_others_at_other_shapes(small):
    body = HEAD + ("(float[N, 4] x) => (float[N, 4] y) <float[1, 4] b = {1, 2, 3, 4}> "
        "{ s = Shape (x) wide = Expand (b, s) t = Add (x, wide) y = Mul (t, b) }")  # fmt: skip
    five, seven = (read_onnx(small(body), {"x": [n, 4]}).ops for n in (5, 7))
    assert [op.weights_bytes for op in (*five, *seven)] == [80, 16, 112, 16]
    assert five[0].weights_id != seven[0].weights_id
    assert five[1].weights_id == seven[1].weights_id
    assert five[0].weights_id == read_onnx(small(body), {"x": [5, 4]}).ops[0].weights_id


def test_questions_for_shapes_are_answered_at_once(small):
    graph = read_onnx(small("shape_chain"), {"x": [4, 3]})
    assert [op.type for op in graph.ops] == ["Relu", "Reshape", "Mul"]


def test_dead_nodes_are_left_out_and_constant_outputs_stay(small):
    assert [op.name for op in read_onnx(small("dead_branch")).ops] == ["y"]
    graph = read_onnx(small("constant_output"))
    assert graph.ops[0].inputs == ()
    assert graph.producer("c") == graph.ops[0]
    assert [tensor.name for tensor in read_onnx(small("passed_through")).outputs] == ["y", "kept"]


def test_ops_have_a_constant_by_themselves_that_is_an_output_too(small):
    by_name = {op.name: op for op in read_onnx(small("constant_output")).ops}
    assert by_name["a"].inputs == ("x",)
    assert by_name["a"].weights_bytes == 8
    chained = HEAD + (
        "(float[2, 3] x) => (int64[2] s, float[3, 2] y) <int64[2] turned = {1, 0}> "
        "{ s = Shape (x) t = Gather (s, turned) y = Reshape (x, t) }"
    )
    graph = read_onnx(small(chained))
    assert {op.name: op.inputs for op in graph.ops} == {"s": (), "y": ("x",)}
    (part,) = cut(graph, [["s", "y"]])
    onnx.checker.check_model(onnx.load_from_string(part.blob), full_check=True)


def test_questions_for_the_shape_of_an_input_that_is_returned_are_answered_too(small):
    graph = read_onnx(small(HEAD + "(float[2, 3] x) => (float[A, B] x, float[6] y) "
        "<int64[1] flat = {-1}> { s = Shape (x) n = Size (s) r = Reshape (x, flat) y = Identity (r) }"))  # fmt: skip
    assert [op.name for op in graph.ops] == ["r", "y"]
    graph = read_onnx(small(HEAD + "(float[2, 3] x) => (float[A, B] x, float[2, 3] y) "
        "{ s = Shape (x) y = Reshape (x, s) }"))  # fmt: skip
    assert [op.inputs for op in graph.ops] == [("x",)]


def test_names_are_made_unique(small, tmp_path):
    model = onnx.load(small("constant_nodes"))
    for node in model.graph.node:
        node.name = "same"
    onnx.save(model, tmp_path / "m.onnx")
    assert [op.name for op in read_onnx(tmp_path / "m.onnx").ops] == ["same", "same#2", "same#3", "same#4", "same#5"]


def test_unsorted_nodes_are_sorted(small, tmp_path):
    model = onnx.load(small("old_ir"))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    onnx.save(model, tmp_path / "m.onnx")
    assert [op.name for op in read_onnx(tmp_path / "m.onnx").ops] == ["a", "b", "y"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("(float[2] x) => (float[2] y) { a = Add (x, b)  b = Neg (a)  y = Neg (b) }",
         "the graph has a cycle; the Add node 'a' waits for its own result"),
        ("(float[2] x) => (float[2] y) { y = Add (x, ghost) }", "reads 'ghost', which nothing in the model makes"),
        ("(float[2] x) => (float[2] y) { y = Neg (x)  y = Relu (x) }", "'y' is made twice"),
        ("(float[2] x) => (float[2] x) { y = Neg (x) }", "there is nothing to place"),
        ("(float[2] x) => (float[2] y) { }", "no nodes; there is nothing to place"),
        ("(float[2] x) => (float[2] y, float[2] w) <float[2] w = {1, 2}> { y = Add (x, w) }",
         "the output 'w' is a constant of the file"),
    ],
)  # fmt: skip
def test_graphs_that_cannot_be_placed_are_refused(small, body, message):
    with pytest.raises(ProblemError, match=message):
        read_onnx(small(HEAD + body))
