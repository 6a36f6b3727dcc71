"""Cuts of real TFLite models give the whole model's bits, on all that a folder has.

The folder is named by the environment variable PLACER_TFLITE_MODELS; `.ci/fetch-models FOLDER` fills one. Without it
these tests are skipped: the models are too large for the repository, and not all of them free to be in it.
"""

import os
from pathlib import Path

import pytest

from placer.models.read_tflite import read_tflite
from tests.placer.tflite_models import Builtin, Type, assert_same_bits, decode, segments_of

CUTS = 50

# LiteRT itself cannot run these as they are.
UNRUNNABLE = {
    "face_landmark_with_attention": "has operators of MediaPipe's own",
    "melspectrogram": "leaves its input's length open, and its default of 1 sample is too short for it",
}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif("PLACER_TFLITE_MODELS" not in os.environ, reason="PLACER_TFLITE_MODELS names no folder"),
]


def models() -> list[Path]:
    found = sorted(Path(os.environ.get("PLACER_TFLITE_MODELS", "/dev/null")).rglob("*.tflite"))
    return [path for path in found if path.stem not in UNRUNNABLE]


def has_fp16_weights(path: Path) -> bool:
    model = decode(path.read_bytes())
    kinds = {code.deprecatedBuiltinCode for code in model.operatorCodes}
    return Builtin.DEQUANTIZE in kinds and any(one.type == Type.FLOAT16 for one in model.subgraphs[0].tensors)


def test_the_folder_has_enough_of_each_kind():
    kinds = ["fp16" if has_fp16_weights(path) else read_tflite(path).numeric for path in models()]
    assert len(kinds) >= 8
    assert {kind for kind in kinds if kinds.count(kind) >= 2} >= {"fp16", "fp32", "int8"}


@pytest.mark.parametrize("path", models(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_many_cuts_of_real_models_give_the_same_bits(path: Path):
    graph = read_tflite(path)
    for seed in range(CUTS):
        assert_same_bits(graph, segments_of(graph, seed), seed)
    assert_same_bits(graph, [[op.name] for op in graph.ops], seed=CUTS, runs=10)
