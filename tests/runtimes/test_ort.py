"""What a device runs is not reported to anybody outside its site."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["runtimes.executors.onnx", "placer.models.onnx_run"])
def test_onnx_runtime_writes_no_session_file_for_its_maker(module, tmp_path):
    code = f"import {module} as m; getattr(m, 'onnx_runtime', lambda: None)(); import onnxruntime"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORT_")}
    subprocess.run([sys.executable, "-c", code], env={**environment, "TMPDIR": str(tmp_path)}, check=True)
    assert not list(tmp_path.iterdir())
