"""Writes `watch.onnx`, the model of two_sources.yaml, which joins a picture and a second of sound.

Its weights are drawn and not trained, so what it answers means nothing; it stands for a model of yours. Run it as
`python examples/watch_model.py`; the file in this folder is what it wrote.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent
PICTURE = (1, 3, 96, 96)
SOUND = (1, 1, 16000)
FEATURES = 16


def watch() -> bytes:
    """Make a model of two branches: `picture` and `sound` to `alarm`, [1, 2], and `summary`, [1, 32]."""
    rng = np.random.default_rng(7)
    constants: list[onnx.TensorProto] = []

    def weights(name: str, *shape: int) -> str:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        constants.append(numpy_helper.from_array(rng.normal(scale=scale, size=shape).astype(np.float32), name))
        return name

    nodes = []
    for data, taps, channels in (("picture", [3, 3], 3), ("sound", [64], 1)):
        branch = "look" if data == "picture" else "listen"
        first = weights(f"{branch}.first", FEATURES, channels, *taps)
        second = weights(f"{branch}.second", FEATURES, FEATURES, *([3] * len(taps)))
        stride, halves = ([2, 2], [2, 2]) if branch == "look" else ([32], [2])
        nodes += [
            helper.make_node("Conv", [data, first], [f"{branch}_1"], f"{branch}_first", strides=stride),
            helper.make_node("Relu", [f"{branch}_1"], [f"{branch}_2"], f"{branch}_relu"),
            helper.make_node("Conv", [f"{branch}_2", second], [f"{branch}_3"], f"{branch}_second", strides=halves),
            helper.make_node("GlobalAveragePool", [f"{branch}_3"], [f"{branch}_4"], f"{branch}_pool"),
            helper.make_node("Flatten", [f"{branch}_4"], [f"{branch}_features"], f"{branch}_flatten"),
        ]
    nodes += [
        helper.make_node("Concat", ["look_features", "listen_features"], ["summary"], "join", axis=1),
        helper.make_node("MatMul", ["summary", weights("head", 2 * FEATURES, 2)], ["scores"], "head"),
        helper.make_node("Softmax", ["scores"], ["alarm"], "softmax", axis=1),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side]
        for side in (
            (("picture", PICTURE), ("sound", SOUND)),
            (("alarm", (1, 2)), ("summary", (1, 2 * FEATURES))),
        )
    ]
    graph = helper.make_graph(nodes, "watch", *ends, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    (FOLDER / "watch.onnx").write_bytes(watch())
