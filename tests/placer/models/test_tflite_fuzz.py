"""Damaged TFLite files are refused with a ProblemError, or cut into parts; nothing else, and soon."""

import random
import struct
from pathlib import Path

import numpy as np
import pytest

from placer.errors import ProblemError
from placer.models.cut import cut
from placer.models.read_tflite import read_tflite
from tests.placer.models.test_cut import random_segments
from tests.placer.tflite_models import DATA, decode

MODELS = ("micro_speech", "wake_word", "image_classification")


def damaged(content: bytes, rng: random.Random, structure: list[int]) -> bytes:
    """Return a copy with a few bytes changed, mostly among those that are no weights, or cut off, or doubled."""
    made = bytearray(content)
    kind = rng.randrange(10)
    if kind == 0:
        return bytes(made[: rng.randrange(len(made))])
    if kind == 1:
        start = rng.randrange(len(made))
        return bytes(made[:start] + made[max(0, start - rng.randrange(64)) :])
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        place = rng.choice(structure)
        if rng.random() < 0.5:
            made[place] = rng.choice((0, 1, 127, 128, 255, made[place] ^ 1 << rng.randrange(8)))
        else:
            extreme = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), rng.randrange(-len(made), len(made))))
            struct.pack_into("<i", made, min(place & ~3, len(made) - 4), extreme)
    return bytes(made)


def structure_of(content: bytes) -> list[int]:
    """Return the places of the bytes that are no weights: long vectors hold the weights."""
    weights = [buffer.data for buffer in decode(content).buffers if buffer.data is not None and len(buffer.data) > 64]
    start = np.frombuffer(content, np.uint8).ctypes.data
    hidden = set()
    for array in weights:
        first = array.ctypes.data - start
        hidden.update(range(first, first + len(array)))
    return [place for place in range(len(content)) if place not in hidden]


def check(path: Path, rng: random.Random) -> bool:
    """Read and cut; tell whether both went well."""
    try:
        graph = read_tflite(path)
        parts = cut(graph, random_segments(graph, rng.randrange(10**6)))
    except ProblemError:
        return False
    assert all(part.blob[4:8] == b"TFL3" for part in parts)
    return True


def sweep(tmp_path, name, mutations, seed):
    content = (DATA / f"{name}.tflite").read_bytes()
    structure = structure_of(content)
    path = tmp_path / "m.tflite"
    rng = random.Random(f"{name}/{seed}")
    outcomes = []
    for _ in range(mutations):
        path.write_bytes(damaged(content, rng, structure))
        outcomes.append(check(path, rng))
    return outcomes


@pytest.mark.parametrize("name", MODELS)
def test_damage_is_refused_or_harmless(tmp_path, name):
    outcomes = sweep(tmp_path, name, 120, seed=0)
    # Both happen, or the damage is not where it matters.
    assert 10 < sum(outcomes) < 110


@pytest.mark.long
@pytest.mark.parametrize("name", [*MODELS, "face_detection", "basic_pitch"])
@pytest.mark.parametrize("seed", range(1, 5))
def test_much_damage_is_refused_or_harmless(tmp_path, name, seed):
    sweep(tmp_path, name, 300, seed)
