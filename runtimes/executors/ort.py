"""ONNX Runtime, imported with its reports to its maker switched off, and the settings every session of ours has.

From 1.31 its Linux packages carry a reporter that is on by default and keeps a session file in the temporary folder.
What a device computes is nobody's business but its site's.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["SESSION_CONFIG", "onnxruntime"]

SESSION_CONFIG = {
    # At 10 Hz with two threads, spinning burns 37-44 ms of processor time per inference for 6 ms of work
    # (measured, docs/runtime.md), at the same latency.
    "session.intra_op.allow_spinning": "0",
    # 1 is float32. By default a float input of a MatMul with quantized weights is rounded to int8, in some cuts of a
    # model and not in others: a segment has to compute what the whole model does.
    "session.qdq_matmulnbits_accuracy_level": "1",
}
