"""Runs ONNX models on this host with synthetic data: for shapes that only a run reveals, and for timing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from placer.errors import ProblemError

if TYPE_CHECKING:
    from placer.models.graph import Tensor

Arrays = Mapping[str, npt.NDArray[Any]]


def onnx_runtime() -> Any:
    """Import ONNX Runtime, which the planner needs only where something has to run.

    Raises
    ------
    ProblemError
        It is not installed.
    """
    try:
        from runtimes.executors.ort import onnxruntime
    except ImportError as error:
        raise ProblemError(
            "running a model on this host needs ONNX Runtime; install it: pip install 'placer-joules[onnx]'"
        ) from error
    return onnxruntime


def synthetic_inputs(tensors: Sequence[Tensor], seed: int) -> dict[str, npt.NDArray[Any]]:
    """Make inputs that are nobody's data.

    Floats are normal, booleans true, integers zero: integers are mostly indices, and index zero exists.

    Raises
    ------
    ProblemError
        A tensor is bfloat16, which numpy has no type for.
    """
    rng = np.random.default_rng(seed)
    made: dict[str, npt.NDArray[Any]] = {}
    for tensor in tensors:
        if tensor.dtype == "bfloat16":
            raise ProblemError(f"input {tensor.name!r} is bfloat16; a model with such inputs cannot run here")
        dtype = np.dtype(tensor.dtype)
        if dtype.kind == "f":
            made[tensor.name] = rng.standard_normal(tensor.shape).astype(dtype)
        elif dtype.kind == "b":
            made[tensor.name] = np.ones(tensor.shape, dtype)
        else:
            made[tensor.name] = np.zeros(tensor.shape, dtype)
    return made


def open_session(model: bytes, *, threads: int, optimize: bool = True, options: Any = None) -> Any:
    """Open an ONNX Runtime session on the processor as agents do, with their settings and a given number of threads.

    Parameters
    ----------
    model
        Serialized ONNX model.
    threads
        Threads inside one op; ops run one after the other.
    optimize
        False keeps the graph as the file has it.
    options
        SessionOptions to complete; new ones by default.

    Raises
    ------
    ProblemError
        ONNX Runtime is missing, or refuses the model.
    """
    ort = onnx_runtime()
    from runtimes.executors.ort import SESSION_CONFIG

    options = options or ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    for key, value in SESSION_CONFIG.items():
        options.add_session_config_entry(key, value)
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise ProblemError(f"ONNX Runtime refuses the model: {error}") from error
