import pytest

from placer.models.read_onnx import read_onnx

HEAD = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> g '


@pytest.mark.parametrize(
    ("body", "macs"),
    [
        # outputs x weights per output: (1 x 8 x 4 x 4) x (3 x 3 x 3)
        ("(float[1, 3, 4, 4] x, float[8, 3, 3, 3] w) => (float[1, 8, 4, 4] y) "
         "{ y = Conv <pads = [1, 1, 1, 1]> (x, w) }", 8 * 16 * 27),
        ("(float[1, 4, 6, 6] x, float[4, 1, 3, 3] w) => (float[1, 4, 4, 4] y) { y = Conv <group = 4> (x, w) }",
         4 * 16 * 9),
        ("(float[1, 3, 4, 4] x, float[3, 5, 2, 2] w) => (float[1, 5, 8, 8] y) "
         "{ y = ConvTranspose <strides = [2, 2]> (x, w) }", 3 * 16 * 5 * 4),
        ("(float[2, 3] a, float[3, 5] b) => (float[2, 5] y) { y = MatMul (a, b) }", 2 * 3 * 5),
        ("(float[7, 2, 3] a, float[3] b) => (float[7, 2] y) { y = MatMul (a, b) }", 7 * 2 * 3),
        ("(float[3, 2] a, float[5, 3] b) => (float[2, 5] y) { y = Gemm <transA = 1, transB = 1> (a, b) }", 2 * 3 * 5),
        ("(float[3, 2] a, float[5, 3] b) => (float[2, 5] y) "
         "{ y = com.microsoft.FusedMatMul <transA = 1, transB = 1> (a, b) }", 2 * 3 * 5),
        ("(uint8[2, 3] a, int8[3, 5] b) => (int32[2, 5] y) { y = MatMulInteger (a, b) }", 2 * 3 * 5),
        # steps x batch x (weights of the input + recurrent weights), for the four gates together
        ("(float[6, 2, 3] x, float[1, 16, 3] w, float[1, 16, 4] r) => (float[6, 1, 2, 4] y) "
         "{ y = LSTM <hidden_size = 4> (x, w, r) }", 6 * 2 * (16 * 3 + 16 * 4)),
        ("(float[1, 3, 8, 8] x, float[8, 3, 3, 3] w, float[1, 18, 6, 6] o) => (float[1, 8, 6, 6] y) "
         "{ y = DeformConv (x, w, o) }", 8 * 36 * 27),
        ("(float[2, 4, 8] a, float[8, 16] b) => (float[2, 4, 16] y) "
         '{ y = Einsum <equation = "bij, jk -> bik"> (a, b) }', 2 * 4 * 8 * 16),
        ('(float[4, 8] a, float[8, 5] b) => (float[4, 5] y) { y = Einsum <equation = "ij,jk"> (a, b) }', 4 * 8 * 5),
        ("(float[3, 2, 4, 8] a, float[2, 5, 8] b) => (float[3, 2, 4, 5] y) "
         '{ y = Einsum <equation = "...id,...jd->...ij"> (a, b) }', 3 * 2 * 4 * 5 * 8),
        # j is summed with the second operand, k with the third
        ("(float[2, 3] a, float[3, 4] b, float[4, 5] c) => (float[2, 5] y) "
         '{ y = Einsum <equation = "ij,jk,kl->il"> (a, b, c) }', 2 * 3 * 4 + 2 * 4 * 5),
        # nothing is summed: no more than an element-wise product and a transposition
        ('(float[3] a, float[4] b) => (float[3, 4] y) { y = Einsum <equation = "i,j->ij"> (a, b) }', 0),
        ('(float[3, 4] a) => (float[4] y) { y = Einsum <equation = "ij->j"> (a) }', 0),
        ("(float[2, 3] x) => (float[2, 3] y) { y = Relu (x) }", 0),
    ],
)  # fmt: skip
def test_macs_equal_the_textbook_s(small, body, macs):
    assert read_onnx(small(HEAD + body)).macs == macs


def test_attention_weighs_keys_and_values(small):
    head = '<ir_version: 11, opset_import: ["" : 23]> g '
    four = ("(float[1, 4, 5, 8] q, float[1, 2, 7, 8] k, float[1, 2, 7, 6] v) => (float[1, 4, 5, 6] y) "
            "{ y = Attention (q, k, v) }")  # fmt: skip
    assert read_onnx(small(head + four)).macs == 4 * 5 * 7 * (8 + 6)
    three = ("(float[1, 5, 32] q, float[1, 7, 16] k, float[1, 7, 12] v, float[1, 2, 9, 8] pk, float[1, 2, 9, 6] pv) "
             "=> (float[1, 5, 24] y, float[1, 2, 16, 8] nk, float[1, 2, 16, 6] nv) "
             "{ y, nk, nv = Attention <q_num_heads = 4, kv_num_heads = 2> (q, k, v, , pk, pv) }")  # fmt: skip
    assert read_onnx(small(head + three)).macs == 4 * 5 * (9 + 7) * (8 + 6)


def test_bodies_and_functions_are_counted(small):
    assert {op.name: op.macs for op in read_onnx(small("if_captures")).ops} == {"shifted": 0, "y0": 24, "y": 0}
    assert {op.name: op.macs for op in read_onnx(small("function")).ops} == {"a": 18, "b": 0, "y": 18}
    assert {op.name: op.macs for op in read_onnx(small("loop")).ops} == {"start": 0, "state": 8, "y": 0}
