"""Models for the tests of reading, cutting and measuring: real graphs with random weights, and small hard cases."""

from __future__ import annotations

from collections import defaultdict
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

# In "qdq" results are thirds of a quantization step: fused and separate kernels round halves differently.
SMALL_MODELS = {
    "if_captures": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2, 3] x, bool flag) => (float[2, 4] y, float[2, 3] shifted)
        <float[3, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, float[1] one = {1}>
        {
            shifted = Add (x, one)
            y0 = If (flag) <
                then_branch = then_body () => (float[2, 4] t) { t = MatMul (shifted, w) },
                else_branch = else_body () => (float[2, 4] e) { r = Relu (x)  m = MatMul (r, w)  e = Neg (m) }
            >
            y = Relu (y0)
        }""",
    "loop": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2, 2] x) => (float[2, 2] y)
        <int64 trips = {3}, bool always = {1}, float[2, 2] w = {0.5, 0.1, 0.2, 0.5}>
        {
            start = Relu (x)
            state = Loop (trips, always, start) <
                body = step (int64 i, bool go, float[2, 2] s) => (bool on, float[2, 2] next)
                    { on = Identity (go)  p = MatMul (s, w)  next = Add (p, start) }
            >
            y = Neg (state)
        }""",
    "qdq": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 4] x) => (float[1, 2] y)
        <float s = {0.05}, float s_w = {0.02}, float s_y = {0.003}, int8 z = {0},
         int8[4, 2] w_q = {1, -2, 3, -4, 5, -6, 7, -8}>
        {
            x_q = QuantizeLinear (x, s, z)
            x_d = DequantizeLinear (x_q, s, z)
            w_d = DequantizeLinear (w_q, s_w, z)
            m = MatMul (x_d, w_d)
            m_q = QuantizeLinear (m, s_y, z)
            y = DequantizeLinear (m_q, s_y, z)
        }""",
    "function": """
        <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[2, 3] x) => (float[2, 3] y)
        <float[3, 3] w = {1, 0, 2, 0, 1, 0, 3, 0, 1}>
        {
            a = local.Dense (x, w)
            b = Relu (a)
            y = local.Dense (b, w)
        }
        <domain: "local", opset_import: ["" : 17]>
        Dense (v, m) => (out) { p = MatMul (v, m)  out = Tanh (p) }
        """,
    "constant_nodes": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2, 3] x) => (float[2, 3] y, float[2, 3] x_again)
        {
            c = Constant <value = float[3] {1, 2, 3}> ()
            c2 = Add (c, c)
            a = Mul (x, c2)
            b = Add (a, c)
            x_again = Identity (b)
            d = Sub (b, c2)
            y = Mul (d, a)
        }""",
    "passed_through": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x, float[2] kept) => (float[2] y, float[2] kept)
        {
            a = Relu (x)
            y = Neg (a)
        }""",
    "constant_output": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x) => (float[2] y, float[2] c)
        {
            c = Constant <value = float[2] {1, 2}> ()
            a = Add (x, c)
            y = Neg (a)
        }""",
    "dead_branch": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x) => (float[2] y)
        {
            nobody = Exp (x)
            y = Neg (x)
        }""",
    "old_ir": """
        <ir_version: 3, opset_import: ["" : 9]>
        g (float[2, 2] x, float[2, 2] w) => (float[2, 2] y)
        <float[2, 2] w = {1, 2, 3, 4}>
        {
            a = MatMul (x, w)
            b = MatMul (a, w)
            y = Relu (b)
        }""",
    "known_by_a_run": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2, 3] x) => (float[N, M] y)
        <float[1] f = {1}, int64[2] four_six = {4, 6}>
        {
            top = ReduceMax <keepdims = 0> (x)
            nought = Sub (top, top)
            whole = Cast <to = 7> (nought)
            shape = Add (whole, four_six)
            big = Expand (f, shape)
            y = Add (big, nought)
        }""",
    "shape_chain": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[batch, 3] x) => (float[batch, 3] y)
        <int64[1] three = {3}, int64 zero = {0}>
        {
            s = Shape (x)
            b = Shape <start = 0, end = 1> (x)
            target = Concat <axis = 0> (b, three)
            r = Relu (x)
            flat = Reshape (r, target)
            n = Size (x)
            scale = Cast <to = 1> (n)
            y = Mul (flat, scale)
        }""",
}
"""ONNX models in the text format of onnx.parser: each is a case that cutting can get wrong."""


def with_random_weights(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """Replace the weights that a light_* model makes by ConstantOfShape with random ones that keep signals finite."""
    rng = np.random.default_rng(seed)
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    roles = defaultdict(list)
    for node in graph.node:
        for place, name in enumerate(node.input):
            roles[name].append((node.op_type, place))
    nodes = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            nodes.append(node)
            continue
        shape = tuple(numpy_helper.to_array(stored[node.input[0]]))
        operator, place = roles[node.output[0]][0]
        if len(shape) > 1:
            weights = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif operator in ("BatchNormalization", "Unsqueeze") and place in (0, 1, 4):
            weights = rng.uniform(0.8, 1.2, shape)  # scales and variances
        else:
            weights = rng.normal(0, 0.05, shape)
        graph.initializer.append(numpy_helper.from_array(weights.astype(np.float32), node.output[0]))
    del graph.node[:]
    graph.node.extend(nodes)
    return model


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """Return a function from a light model's name to a file of it with random weights."""
    directory = tmp_path_factory.mktemp("zoo")
    light = resources.files("onnx.backend.test.data.light")

    def path_of(name: str) -> Path:
        path = directory / f"{name}.onnx"
        if not path.exists():
            model = onnx.load_from_string((light / f"light_{name}.onnx").read_bytes())
            onnx.save(with_random_weights(model, seed=7), path)
        return path

    return path_of


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Return a function from a name in SMALL_MODELS, or from the text of a model, to a file of it."""
    directory = tmp_path_factory.mktemp("small")
    count = iter(range(10**6))

    def path_of(name_or_text: str) -> Path:
        known = name_or_text in SMALL_MODELS
        path = directory / f"{name_or_text if known else next(count)}.onnx"
        if not path.exists():
            onnx.save(onnx.parser.parse_model(SMALL_MODELS.get(name_or_text, name_or_text)), path)
        return path

    return path_of


@pytest.fixture(scope="session", params=sorted(SMALL_MODELS))
def each_small(request, small):
    """Yield the file of every small model."""
    return small(request.param)
