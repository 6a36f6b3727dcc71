"""Damaged ONNX models are refused with a ProblemError or cut; never a crash, a hang or another exception.

TFLite models have the same in tests/placer/models/test_tflite_fuzz.py.
"""

from __future__ import annotations

import subprocess
import sys

import pytest


def sweep(seed: int, count: int, timeout_s: float) -> int:
    command = [sys.executable, "-m", "tests.fuzz.onnx_models", str(seed), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout)


@pytest.mark.parametrize("seed", range(2))
def test_damaged_models_are_refused_or_harmless(seed):
    went_well = sweep(seed, 150, 120)
    # Both happen, or the damage is not where it matters.
    assert 5 < went_well < 145
