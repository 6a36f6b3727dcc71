"""Execute TFLite models in LiteRT, or in the older TFLite runtime where that alone has a package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from runtimes.datatypes import datatype_of
from runtimes.errors import BadManifest, Failed, MissingExtra

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    try:
        from tflite_runtime.interpreter import Interpreter
    except ImportError as error:
        raise MissingExtra(
            f"TFLite segments need LiteRT ({error}): pip install 'placer-joules[tflite]' on this device"
        ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from runtimes.convert import Array
    from runtimes.session import Ports


class TfliteExecutor:
    """One TFLite model, loaded.

    Parameters
    ----------
    model
        The model file's bytes.
    threads
        Threads of one execution.
    shapes
        The exact shape of each input, by port; a model that leaves dimensions open is resized to it.

    Raises
    ------
    BadManifest
        If LiteRT cannot load it at these shapes.
    """

    def __init__(self, model: bytes, threads: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._model, self._threads, self._shapes = model, threads, dict(shapes)
        self._interpreter = self._loaded()
        details_in = self._interpreter.get_input_details()
        details_out = self._interpreter.get_output_details()
        self._indices = {port["name"]: port["index"] for port in (*details_in, *details_out)}
        self.inputs: Ports = {port["name"]: _described(port) for port in details_in}
        self.outputs: Ports = {port["name"]: _described(port) for port in details_out}

    def _loaded(self) -> Any:
        try:
            interpreter = Interpreter(model_content=self._model, num_threads=self._threads)
            for port in interpreter.get_input_details():
                wanted = self._shapes.get(port["name"])
                if wanted is not None and tuple(port["shape"]) != wanted:
                    interpreter.resize_tensor_input(port["index"], wanted, strict=True)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BadManifest(f"LiteRT cannot load it: {error}") from error
        return interpreter

    def forget(self) -> None:
        """Drop what executions have left in the model's variables, by loading it anew.

        LiteRT can reset variable tensors, but not the resource variables that CALL_ONCE fills.
        """
        self._interpreter = self._loaded()

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Execute once; arrays by port in, the arrays of ``outputs`` out.

        Raises
        ------
        Failed
            If the model fails on these values.
        """
        return self._run(feeds, outputs, lambda index: self._interpreter.get_tensor(index))

    def _run(self, feeds: Mapping[str, Array], outputs: Iterable[str], read: Callable[[int], Array]) -> list[Array]:
        try:
            for port, array in feeds.items():
                self._interpreter.set_tensor(self._indices[port], array)
            self._interpreter.invoke()
            return [read(self._indices[port]) for port in outputs]
        except (ValueError, RuntimeError) as error:
            raise Failed(f"LiteRT: {error}") from error

    def bind(self, feeds: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], Mapping[str, Array]]:
        """Prepare executions that read these arrays, as ``Executor.bind`` says; every output is in LiteRT's memory."""

        def execute() -> dict[str, Array]:
            made = self._run(feeds, outputs, lambda index: self._interpreter.tensor(index)())
            return dict(zip(outputs, made, strict=True))

        return execute

    def stop(self) -> None:
        """Do nothing: LiteRT offers no way to end an execution under way."""


def _described(port: Mapping[str, Any]) -> tuple[str, list[int]]:
    dtype = np.dtype(port["dtype"])
    # Strings are `bytes_` there; every other type is numpy's own.
    datatype = "BYTES" if dtype.kind == "S" else datatype_of(dtype) or str(dtype)
    # The signature leaves open (-1) what only an execution settles.
    return datatype, [int(d) for d in port["shape_signature"]]
