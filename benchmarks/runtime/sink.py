"""A server that takes a tensor and answers with nothing, or with it: one hop without an execution, for comparison."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.runtime.serving import listen, serve, served
from runtimes.protos import open_inference_grpc_pb2 as oip

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc


ECHO = "echo"
"""The model name of requests whose tensor is wanted back."""


def main() -> None:
    """Serve until the standard input ends; prints the address."""

    def infer(request: Any, context: grpc.ServicerContext) -> Any:
        (given,), (raw,) = request.inputs, request.raw_input_contents
        x = np.frombuffer(raw, np.float32).reshape(tuple(given.shape))
        reply = oip.ModelInferResponse(model_name=request.model_name, id=request.id)
        if request.model_name == ECHO:
            reply.outputs.add(name="y", datatype="FP32", shape=x.shape)
            reply.raw_output_contents.append(x.tobytes())
        return reply

    serve(listen(infer))


@contextmanager
def sink_server() -> Iterator[str]:
    """Run ``main`` in a process of its own; gives its address."""
    with served("benchmarks.runtime.sink") as (_, address):
        yield address


if __name__ == "__main__":
    main()
