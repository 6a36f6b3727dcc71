"""Asks an agent by kserve's own gRPC client; runs in an environment that has kserve and nothing of this repository."""

from __future__ import annotations

import asyncio
import json
import sys

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest


def request(x: np.ndarray, *, binary: bool, model: str = "flow") -> InferRequest:
    """Make a request, with its tensor raw or typed."""
    tensor = InferInput(name="x", shape=list(x.shape), datatype="FP32")
    tensor.set_data_from_numpy(x, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[tensor], request_id="from-kserve")


async def ask(address: str) -> dict[str, object]:
    """Call everything that this client has."""
    x = np.array([[-1, 0.5, 2, -3]], np.float32)
    told: dict[str, object] = {}
    async with InferenceGRPCClient(address, timeout=10) as client:
        told["live"] = await client.is_server_live()
        told["ready"] = await client.is_server_ready()
        told["flow"] = await client.is_model_ready("flow")
        told["nothing"] = await client.is_model_ready("nothing")
        for kind in ("raw", "typed"):
            reply = await client.infer(request(x, binary=kind == "raw"))
            told[kind] = {
                "id": reply.id,
                "model": reply.model_name,
                "outputs": {o.name: o.as_numpy().tolist() for o in reply.outputs},
            }
        try:
            await client.infer(request(x[:, :3], binary=True))
        except grpc.RpcError as error:
            told["refused"] = error.code().name
    return told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(sys.argv[1]))))
