"""What an agent adds to one hop: its p50 against a bare gRPC and ONNX Runtime server, in one run.

Both servers are processes of this machine, load the same model with the same options and get the same
requests of the same client, turn by turn, so that a busy machine disturbs both alike: trust the ratios.

    python -m benchmarks.one_hop [--calls N] [--isolation] [--tls] [--json]

The agent runs its segments in its own process. With ``--isolation`` another agent, whose segments run in processes of
their own, gets the same requests for its segment; with ``--tls`` one that asks for certificates does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from benchmarks.runtime.plans import MAX_MESSAGE_BYTES
from benchmarks.runtime.serving import listen, serve, served
from placer.certs import issue, make_authority
from runtimes.assignment import Assignment
from runtimes.channel import open_channel
from runtimes.client import AgentClient
from runtimes.local import LocalAgents
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import INFERENCE_SERVICE, Stub
from runtimes.specs import FlowSpec, SegmentSpec, TensorSpec
from runtimes.tls import CredentialFiles, Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import grpc

SIZES_BYTES = (64, 602_112, 8_388_608)
ROUNDS = 10
CLIENTS = 8


def relu_model(size_bytes: int) -> bytes:
    """Make a model whose work is small beside the transfer of its input and output."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, size_bytes // 4]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def serve_bare() -> None:
    """Serve every size's model with as little as a server can do; prints its address and ends with its input."""
    sessions = {}
    for size_bytes in SIZES_BYTES:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        sessions[f"bench-{size_bytes}/0"] = onnxruntime.InferenceSession(
            relu_model(size_bytes), options, providers=["CPUExecutionProvider"]
        )

    def infer(request: Any, context: grpc.ServicerContext) -> Any:
        given = request.inputs[0]
        x = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(tuple(given.shape))
        (y,) = sessions[request.model_name].run(["y"], {"x": x})
        reply = oip.ModelInferResponse(model_name=request.model_name, id=request.id)
        reply.outputs.add(name="y", datatype="FP32", shape=y.shape)
        reply.raw_output_contents.append(y.tobytes())
        return reply

    serve(listen(infer))


@contextmanager
def bare_server() -> Iterator[tuple[str, int]]:
    """Run ``serve_bare`` in a process of its own; gives its address and the process's id."""
    with served("benchmarks.one_hop", "--serve-bare") as (process, address):
        yield address, process.pid


def certificates(folder: Path) -> tuple[CredentialFiles, Credentials]:
    """Make an authority; gives the agent's certificate and a deployer's, who may also ask for inference."""
    make_authority(folder, "bench", days=1.5)
    agent, deployer = (
        CredentialFiles(authority=folder / "authority.pem", certificate=made.path, key=made.path.with_suffix(".key"))
        for made in (issue(folder, "device", "bench", days=1), issue(folder, "deployer", "bench", days=1))
    )
    return agent, Credentials(deployer)


def put_models(
    address: str, credentials: Credentials | None = None, *, sizes_bytes: Sequence[int] = SIZES_BYTES, epoch: int = 1
) -> None:
    """Deploy one segment per size, each also as a flow of its own."""
    models = {size_bytes: relu_model(size_bytes) for size_bytes in sizes_bytes}
    flows, segments = [], []
    for size_bytes, model in models.items():
        x, y = (TensorSpec(name=n, port=n, dtype="FP32", shape=(1, size_bytes // 4)) for n in ("x", "y"))
        name = f"bench-{size_bytes}"
        flows.append(FlowSpec(name=name, source="bench", sink="bench", devices=("bench",), inputs=(x,), outputs=(y,)))
        segments.append(SegmentSpec(
            name=f"{name}/0", flow=name, runtime="onnx", blob=hashlib.sha256(model).hexdigest(),
            blob_bytes=len(model), inputs=(x,), outputs=(y,), threads=1,
        ))  # fmt: skip
    share = Assignment(
        plan="bench",
        epoch=epoch,
        device="bench",
        flows=tuple(flows),
        segments=tuple(segments),
        routes=(),
        peers={},
        max_message_bytes=MAX_MESSAGE_BYTES,
    )
    blobs = {hashlib.sha256(model).hexdigest(): model for model in models.values()}
    with AgentClient(address, credentials=credentials, device="bench") as client:
        for sha256 in client.stage(share):
            client.put_blob(blobs[sha256])
        client.prepare("bench", epoch)
        client.activate("bench", epoch)


def request(model: str, size_bytes: int) -> Any:
    """Make the request that both servers get."""
    x = np.linspace(-1, 1, size_bytes // 4, dtype=np.float32)
    message = oip.ModelInferRequest(model_name=model, raw_input_contents=[x.tobytes()])
    message.inputs.add(name="x", datatype="FP32", shape=(1, size_bytes // 4))
    return message


def seconds_of(stub: Stub, message: Any, calls: int) -> list[float]:
    """Time some calls, one after the other."""
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        stub.ModelInfer(message, timeout=30)
        times.append(time.perf_counter() - started)
    return times


def rate_hz(stub: Stub, message: Any, calls: int) -> float:
    """Count the calls per second of eight clients at once."""
    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(seconds_of, stub, message, calls) for _ in range(CLIENTS)]:
            done.result()
    return CLIENTS * calls / (time.perf_counter() - started)


def secure_agent(stack: ExitStack) -> Stub:
    """Start an agent that asks for certificates."""
    files, credentials = certificates(Path(stack.enter_context(tempfile.TemporaryDirectory())))
    agents = stack.enter_context(LocalAgents(["bench"], credentials={"bench": files}, options=["--no-isolation"]))
    address = agents.addresses["bench"]
    put_models(address, credentials)
    channel = open_channel(address, MAX_MESSAGE_BYTES, credentials.material(), "bench")
    return Stub(stack.enter_context(channel), INFERENCE_SERVICE)


def isolated_agent(stack: ExitStack) -> Stub:
    """Start an agent whose segments run in processes of their own."""
    address = stack.enter_context(LocalAgents(["bench"])).addresses["bench"]
    put_models(address)
    return Stub(stack.enter_context(open_channel(address, MAX_MESSAGE_BYTES)), INFERENCE_SERVICE)


def measure(calls: int, *, isolation: bool, tls: bool) -> list[dict[str, Any]]:
    """Time every size on all servers, in alternating rounds."""
    rows = []
    with (
        bare_server() as (bare_address, _),
        LocalAgents(["bench"], options=["--no-isolation"]) as agents,
        open_channel(bare_address, MAX_MESSAGE_BYTES) as bare_channel,
        open_channel(agents.addresses["bench"], MAX_MESSAGE_BYTES) as agent_channel,
        ExitStack() as stack,
    ):
        put_models(agents.addresses["bench"])
        bare, agent = Stub(bare_channel, INFERENCE_SERVICE), Stub(agent_channel, INFERENCE_SERVICE)
        others = {"isolated": isolated_agent(stack)} if isolation else {}
        others |= {"tls": secure_agent(stack)} if tls else {}
        for size_bytes in SIZES_BYTES:
            segment, flow = request(f"bench-{size_bytes}/0", size_bytes), request(f"bench-{size_bytes}", size_bytes)
            targets = {"bare": (bare, segment), "segment": (agent, segment), "flow": (agent, flow)}
            targets |= {name: (stub, segment) for name, stub in others.items()}
            times: dict[str, list[float]] = {name: [] for name in targets}
            for target in targets.values():
                seconds_of(*target, 10)
            per_round = max(4, calls // ROUNDS if size_bytes < 1 << 20 else calls // ROUNDS // 4)
            for _ in range(ROUNDS):
                for name, target in targets.items():
                    times[name] += seconds_of(*target, per_round)
            p50_s = {name: statistics.median(measured) for name, measured in times.items()}
            rates_hz = {name: rate_hz(*target, max(2, per_round // 2)) for name, target in targets.items()}
            rows.append({
                "bytes": size_bytes, "p50_s": p50_s, "rate_hz": rates_hz,
                "segment_ratio": p50_s["segment"] / p50_s["bare"], "flow_ratio": p50_s["flow"] / p50_s["bare"],
                **({"isolated_ratio": p50_s["isolated"] / p50_s["bare"],
                    "isolation_s": p50_s["isolated"] - p50_s["segment"]} if isolation else {}),
                **({"tls_ratio": p50_s["tls"] / p50_s["segment"]} if tls else {}),
            })  # fmt: skip
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000, help="calls per size and server (default: %(default)s)")
    parser.add_argument("--isolation", action="store_true", help="measure an agent with segments' processes too")
    parser.add_argument("--tls", action="store_true", help="measure an agent that asks for certificates too")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve-bare", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve_bare:
        serve_bare()
        return
    rows = measure(given.calls, isolation=given.isolation, tls=given.tls)
    if given.json:
        print(json.dumps({"processors": os.cpu_count(), "rows": rows}))
        return
    for row in rows:
        p50, rate = row["p50_s"], row["rate_hz"]
        print(
            f"{row['bytes']:>9} B  p50 bare {1e3 * p50['bare']:7.2f} ms  segment {1e3 * p50['segment']:7.2f} ms "
            f"(x{row['segment_ratio']:.2f})  flow {1e3 * p50['flow']:7.2f} ms (x{row['flow_ratio']:.2f})  "
            f"{CLIENTS} clients: {rate['bare']:6.0f} / {rate['segment']:6.0f} / {rate['flow']:6.0f} per s"
        )
        if given.isolation:
            print(
                f"{'':>11}  segment in its own process {1e3 * p50['isolated']:7.2f} ms "
                f"(x{row['isolated_ratio']:.2f} of bare, {1e3 * row['isolation_s']:+.2f} ms)  "
                f"{CLIENTS} clients: {rate['isolated']:6.0f} per s"
            )
        if given.tls:
            print(
                f"{'':>11}  segment with certificates {1e3 * p50['tls']:7.2f} ms (x{row['tls_ratio']:.2f} of without)  "
                f"{CLIENTS} clients: {rate['tls']:6.0f} per s"
            )


if __name__ == "__main__":
    main()
