"""kserve's Python server with one ONNX model per file; runs in an environment of its own (see install)."""

from __future__ import annotations

import argparse
from pathlib import Path

import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Onnx(Model):
    """One model, named after its file."""

    def __init__(self, file: Path) -> None:
        super().__init__(file.stem)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.ready = True

    async def predict(self, payload: InferRequest, headers: object = None, response_headers: object = None) -> object:
        """Run the model on the request's only input."""
        (y,) = self._session.run(["y"], {"x": payload.inputs[0].as_numpy()})
        output = InferOutput(name="y", shape=list(y.shape), datatype="FP32")
        output.set_data_from_numpy(y, binary_data=True)
        return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, help="folder of .onnx files with an input x and an output y")
    parser.add_argument("grpc_port", type=int)
    parser.add_argument("http_port", type=int)
    # kserve reads its own options, such as the largest message, off the same command line.
    given, _ = parser.parse_known_args()
    server = ModelServer(grpc_port=given.grpc_port, http_port=given.http_port)
    server.start([Onnx(file) for file in sorted(given.models.glob("*.onnx"))])
