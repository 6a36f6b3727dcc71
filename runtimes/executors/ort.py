"""ONNX Runtime, imported with its reports to its maker switched off.

From 1.31 its Linux packages carry a reporter that is on by default and keeps a session file in the temporary folder.
What a device computes is nobody's business but its site's.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["onnxruntime"]
