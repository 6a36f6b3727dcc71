"""A segment ready to run: what the agent asks of one, and one in the agent's own process, checked against its spec."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from runtimes.convert import aligned, zeros
from runtimes.datatypes import DATATYPES
from runtimes.errors import BadManifest, Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runtimes.convert import Array
    from runtimes.specs import SegmentSpec, TensorSpec

    # Datatype and dimensions of each port; an open dimension is anything but a number.
    Ports = Mapping[str, tuple[str, Sequence[Any]]]


class Executor(Protocol):
    """What a runtime offers; a Protocol, so that each loads its own library only when it is needed."""

    inputs: Ports
    outputs: Ports

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Execute once; arrays by port in, the arrays of ``outputs`` out."""

    def bind(self, feeds: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], Mapping[str, Array]]:
        """Prepare executions that read and write these arrays each time; errors are those of ``run``.

        Parameters
        ----------
        feeds, outputs
            By port; none of them holds strings.

        Returns
        -------
        Callable
            Executes once, and gives those outputs, by port, that the runtime could not make in their arrays. They may
            be in its own memory: they are to be let go before the next execution.
        """

    def stop(self) -> None:
        """End the execution under way, from another thread, where the runtime can."""

    def forget(self) -> None:
        """Drop what executions have left in the model's own state."""


class Session(Protocol):
    """One segment, loaded, checked and warm; a Protocol, since it may be in this process or in one of its own."""

    spec: SegmentSpec

    @property
    def ready(self) -> bool:
        """Whether it can run now."""

    def run(self, tensors: Mapping[str, Array], deadline: float = math.inf) -> dict[str, Array]:
        """Execute once.

        Parameters
        ----------
        tensors
            At least the segment's inputs, by tensor name.
        deadline
            Reading of ``time.monotonic`` at which nobody waits for it any more.

        Returns
        -------
        dict
            Its outputs by tensor name.

        Raises
        ------
        AgentError
            What went wrong.
        """

    def begin(self, tensors: Mapping[str, Array], deadline: float) -> Callable[[], dict[str, Array]] | None:
        """Begin an execution that another thread waits for; None where only ``run`` can begin one now.

        What is returned is called once: it waits for the end, and returns and raises as ``run`` does.
        """

    def stop(self) -> None:
        """End the execution under way, from another thread; called again until it has ended."""


class InProcessSession:
    """One segment, loaded and checked, in this process.

    Parameters
    ----------
    spec
        The segment.
    executor
        Its model file, loaded.

    Raises
    ------
    BadManifest
        If the model's ports are not what the spec says.
    """

    def __init__(self, spec: SegmentSpec, executor: Executor) -> None:
        self.spec = spec
        self._executor = executor
        self._ports = [(tensor.port, tensor.name) for tensor in spec.inputs]
        self._output_ports = [tensor.port for tensor in spec.outputs]
        _check_ports(spec, "input", spec.inputs, executor.inputs, every=True)
        _check_ports(spec, "output", spec.outputs, executor.outputs, every=False)

    @property
    def ready(self) -> bool:
        """Always: it lives and ends with this process."""
        return True

    def run(self, tensors: Mapping[str, Array], deadline: float = math.inf) -> dict[str, Array]:
        """Execute once; inputs and outputs by tensor name.

        The deadline is kept by ``stop``, where the runtime can be stopped.

        Raises
        ------
        Failed
            If the model fails on these values or gives others than the spec says.
        DeadlineExceeded
            If ``stop`` ended it.
        """
        feeds = {port: aligned(tensors[name]) for port, name in self._ports}
        made = self._executor.run(feeds, self._output_ports)
        outputs: dict[str, Array] = {}
        for tensor, array in zip(self.spec.outputs, made, strict=True):
            _check_made(tensor, array)
            outputs[tensor.name] = array
        return outputs

    def begin(self, tensors: Mapping[str, Array], deadline: float) -> None:
        """Begin nothing: an execution here takes the thread that calls ``run``."""

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], None]:
        """Prepare executions that read their inputs where they are, and write their outputs where they are to go.

        Parameters
        ----------
        inputs, outputs
            By tensor name: arrays of the spec's types and shapes, no strings.

        Returns
        -------
        Callable
            Executes once, and raises what ``run`` does.
        """
        execute = self._executor.bind(
            {tensor.port: inputs[tensor.name] for tensor in self.spec.inputs},
            {tensor.port: outputs[tensor.name] for tensor in self.spec.outputs},
        )
        planned = {tensor.port: tensor for tensor in self.spec.outputs}

        def run() -> None:
            for port, array in execute().items():
                _check_made(planned[port], array)
                np.copyto(outputs[planned[port].name], array, casting="no")

        return run

    def warm_up(self, timeout_s: float) -> None:
        """Execute once on zeros, for at most ``timeout_s``, so that the first request finds it warm.

        Raises
        ------
        AgentError
            As ``run`` does.
        """
        timer = threading.Timer(timeout_s, self.stop)
        timer.daemon = True
        timer.start()
        try:
            self.run({tensor.name: zeros(tensor) for tensor in self.spec.inputs})
            # A streaming model remembers: the first request must find it as it was shipped.
            self._executor.forget()
        finally:
            timer.cancel()
            timer.join()

    def stop(self) -> None:
        """End the execution under way, from another thread, where the runtime can."""
        self._executor.stop()


def _check_made(tensor: TensorSpec, array: Array) -> None:
    if array.dtype != DATATYPES[tensor.dtype] or array.shape != tensor.shape:
        raise Failed(
            f"output {tensor.name!r} came as {array.dtype}{list(array.shape)}; "
            f"{tensor.dtype}{list(tensor.shape)} was planned"
        )


def open_session(spec: SegmentSpec, model: bytes, threads_limit: int) -> InProcessSession:
    """Load a segment's model file in this process.

    Parameters
    ----------
    spec
        The segment.
    model
        The bytes of its model file.
    threads_limit
        The most threads that this device gives to one execution.

    Raises
    ------
    MissingExtra
        If its runtime is not installed.
    BadManifest
        If the model cannot be loaded or its ports are not what the spec says.
    """
    return InProcessSession(spec, _load(spec, model, min(spec.threads, threads_limit)))


def _load(spec: SegmentSpec, model: bytes, threads: int) -> Executor:
    # Imported here: a device has one runtime's package and need not have the other's.
    if spec.runtime == "onnx":
        from runtimes.executors.onnx import OnnxExecutor

        return OnnxExecutor(model, threads)
    from runtimes.executors.tflite import TfliteExecutor

    return TfliteExecutor(model, threads, {tensor.port: tensor.shape for tensor in spec.inputs})


def _check_ports(
    spec: SegmentSpec, kind: str, tensors: Sequence[TensorSpec],
    ports: Ports, *, every: bool,
) -> None:  # fmt: skip
    named = {tensor.port for tensor in tensors}
    if unknown := sorted(named - ports.keys()):
        raise BadManifest(f"{kind} ports {unknown} are not in the model, which has {sorted(ports)}")
    if every and (unfed := sorted(ports.keys() - named)):
        raise BadManifest(f"{kind} ports {unfed} of the model are not in the segment, which has {sorted(named)}")
    for tensor in tensors:
        datatype, shape = ports[tensor.port]
        fits = len(shape) == len(tensor.shape) and all(
            not isinstance(dimension, int) or dimension < 0 or dimension == planned
            for dimension, planned in zip(shape, tensor.shape, strict=True)
        )
        if datatype != tensor.dtype or not fits:
            raise BadManifest(
                f"{kind} port {tensor.port!r} is {datatype}{list(shape)} in the model and "
                f"{tensor.dtype}{list(tensor.shape)} in segment {spec.name!r}"
            )
