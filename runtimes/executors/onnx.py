"""Execute ONNX models in ONNX Runtime, on the processor, without burning joules between two runs."""

from __future__ import annotations

import mmap
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtimes.errors import BadManifest, DeadlineExceeded, Exhausted, Failed, MissingExtra
from runtimes.executors.onnx_file import check_onnx

try:
    from runtimes.executors.ort import SESSION_CONFIG, onnxruntime
except ImportError as error:
    raise MissingExtra(
        f"ONNX segments need ONNX Runtime ({error}): pip install 'placer-joules[onnx]' on this device"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runtimes.convert import Array
    from runtimes.session import Ports

# A model's external data are read from this directory, which cannot be: a segment is one file.
_EXTERNAL_DATA = "session.model_external_initializers_file_folder_path"
_NOWHERE = "/dev/null/no-external-data"

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16", "tensor(uint32)": "UINT32", "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8", "tensor(int16)": "INT16", "tensor(int32)": "INT32", "tensor(int64)": "INT64",
    "tensor(float16)": "FP16", "tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(string)": "BYTES",
}  # fmt: skip
# ONNX Runtime's own log has no place in the agent's: it quotes values, and is no JSON.
_FATAL = 4


class OnnxExecutor:
    """One ONNX model, loaded.

    Parameters
    ----------
    model
        The model file's bytes.
    threads
        Threads of one execution.

    Raises
    ------
    BadManifest
        If it asks for what a segment may not have, or ONNX Runtime cannot load it.
    Exhausted
        If there is not enough memory for it.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        check_onnx(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _FATAL
        for key, value in SESSION_CONFIG.items():
            options.add_session_config_entry(_known(key), value)
        self._lock = threading.Lock()
        self._running = False
        self._run_options = _run_options()
        options.add_session_config_entry(_EXTERNAL_DATA, _NOWHERE)
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            if _lacks_memory(error):
                raise Exhausted(f"there is not enough memory to load it: {error}") from error
            raise BadManifest(f"ONNX Runtime {onnxruntime.__version__} cannot load it: {error}") from error
        self.inputs: Ports = {p.name: (_DATATYPES.get(p.type, p.type), p.shape) for p in self._session.get_inputs()}
        self.outputs: Ports = {p.name: (_DATATYPES.get(p.type, p.type), p.shape) for p in self._session.get_outputs()}
        self._has_text = any(kind == "BYTES" for kind, _ in (*self.inputs.values(), *self.outputs.values()))

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Execute once; arrays by port in, the arrays of ``outputs`` out.

        Raises
        ------
        DeadlineExceeded
            If ``stop`` ended it.
        Exhausted
            If there is not enough memory for it.
        Failed
            If the model fails on these values.
        """
        if self._has_text:
            feeds = {port: array if array.dtype.kind != "O" else _as_text(port, array) for port, array in feeds.items()}
        made: list[Array] = self._execute(self._session.run, outputs, feeds)
        return [a if a.dtype.kind != "O" else _as_bytes(a) for a in made] if self._has_text else made

    def bind(self, feeds: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], Mapping[str, Array]]:
        """Prepare executions that read and write these arrays, as ``Executor.bind`` says."""
        binding = self._session.io_binding()
        for port, array in feeds.items():
            binding.bind_input(port, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

        def bind_output(port: str) -> None:
            array = outputs[port]
            binding.bind_output(port, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

        for port in outputs:
            bind_output(port)
        addresses = [(port, array.ctypes.data) for port, array in outputs.items()]

        def execute() -> dict[str, Array]:
            self._execute(self._session.run_with_iobinding, binding)
            elsewhere: dict[str, Array] = {}
            # One by one: their iterator ends by an exception in C++, which takes longer than all the rest.
            made = binding.get_outputs_as_ortvaluevector()
            for index, (port, address) in enumerate(addresses):
                # An output that is an input too is written nowhere: it is that input.
                if made[index].data_ptr() != address:
                    elsewhere[port] = made[index].numpy()
                    bind_output(port)
            return elsewhere

        return execute

    def _execute(self, call: Callable[..., Any], *arguments: Any) -> Any:
        with self._lock:
            self._running = True
        try:
            return call(*arguments, self._run_options)
        except Exception as error:
            if self._run_options.terminate:
                raise DeadlineExceeded("stopped at its deadline") from error
            if _lacks_memory(error):
                raise Exhausted(f"there is not enough memory to run it: {error}") from error
            raise Failed(f"ONNX Runtime: {error}") from error
        finally:
            with self._lock:
                self._running = False
                if self._run_options.terminate:
                    self._run_options = _run_options()

    def forget(self) -> None:
        """Do nothing: an ONNX model keeps nothing from one execution to the next."""

    def stop(self) -> None:
        """End the execution under way, from another thread."""
        with self._lock:
            if self._running:
                self._run_options.terminate = True


def _run_options() -> Any:
    options = onnxruntime.RunOptions()
    options.log_severity_level = _FATAL
    # ONNX Runtime looks for it before bound executions, and where it is not set throws an exception at itself,
    # which takes longer than many an execution.
    options.add_run_config_entry("gpu_graph_id", "-1")
    return options


def _as_text(port: str, array: Array) -> Array:
    # Of a bytes object it would take Python's notation, b'...', for the text.
    try:
        texts = [item.decode() for item in array.flat]
    except UnicodeDecodeError as error:
        raise Failed(f"a string of input {port!r} is no UTF-8: {error.reason}") from error
    return _of_objects(texts, array.shape)


def _as_bytes(array: Array) -> Array:
    return _of_objects([item.encode() for item in array.flat], array.shape)


def _of_objects(items: list[Any], shape: tuple[int, ...]) -> Array:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


def _lacks_memory(error: Exception) -> bool:
    # ONNX Runtime has no class or code of its own for it: its arena's words, and the C++ library's.
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in ("Failed to allocate memory", "bad_alloc", "bad allocation")
    )


@cache
def _known(key: str) -> str:
    """Give a session key back if this build of ONNX Runtime has it; unknown ones it ignores in silence."""
    encoded = key.encode()
    for library in Path(onnxruntime.__file__).parent.glob("capi/*onnxruntime*"):
        if not library.is_file() or library.stat().st_size < len(encoded):
            continue
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(encoded) >= 0:
                return key
    raise MissingExtra(
        f"ONNX Runtime {onnxruntime.__version__} does not know {key!r}: pip install 'placer-joules[onnx]' again"
    )
