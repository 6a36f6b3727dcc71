"""The least that an agent's answer takes, in steps: no plan, no deadline, no check, and no figure noted.

Each step does what those before it do: a request's bytes given back, by the threads that an agent has; its tensor cut
out and copied to an aligned place; the model run on it; the reply joined of its output. Only the last answers with more
than the request's own bytes.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks.one_hop import SIZES_BYTES, relu_model
from benchmarks.runtime.serving import listen, serve
from runtimes.convert import aligned, contents_of, of_raw
from runtimes.crew import Crew
from runtimes.executors.onnx import OnnxExecutor
from runtimes.server import AT_WORK, PATIENCE_S
from runtimes.specs import TensorSpec
from runtimes.wire import ReplyForm, read_request

if TYPE_CHECKING:
    import grpc

STEPS = ("gRPC", "copy", "model", "reply")
_EPOCH = "1"


def main(step: str) -> None:
    """Serve every size's model up to a step, until the standard input ends; prints the address."""
    steps = STEPS[: STEPS.index(step) + 1]
    executors = {size_bytes: OnnxExecutor(relu_model(size_bytes), 1) for size_bytes in SIZES_BYTES}
    ends = {
        size_bytes: tuple(TensorSpec(name=n, port=n, dtype="FP32", shape=(1, size_bytes // 4)) for n in "xy")
        for size_bytes in SIZES_BYTES
    }
    forms = {size_bytes: ReplyForm(f"bench-{size_bytes}/0", _EPOCH, [y]) for size_bytes, (_, y) in ends.items()}

    def infer(data: bytes, context: grpc.ServicerContext) -> Any:
        if "copy" not in steps:
            return data
        (raw,) = read_request(data).raw
        x, y = ends[len(raw)]
        given = aligned(of_raw(raw, x))
        if "model" not in steps:
            return data
        (made,) = executors[len(raw)].run({"x": given}, ["y"])
        if "reply" not in steps:
            return data
        return forms[len(raw)].write("id", [contents_of({"y": made}, y)])

    serve(listen(infer, unread=True, threads=Crew(ThreadPoolExecutor(16), AT_WORK, PATIENCE_S)))


if __name__ == "__main__":
    main(sys.argv[1])
