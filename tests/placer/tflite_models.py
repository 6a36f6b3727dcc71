"""Small TFLite models written by hand, and the two ways to run a model: whole, and in parts."""

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from placer.models.cut import cut
from runtimes.executors.tflite import TfliteExecutor
from tests.placer.models.test_cut import random_segments

Builtin, Options, Type = schema.BuiltinOperator, schema.BuiltinOptions, schema.TensorType

DATA = Path(__file__).parent.parent / "data"
DATA_MODELS = ("basic_pitch", "face_detection", "image_classification", "micro_speech", "wake_word")


def tensor(name, shape, kind=Type.FLOAT32, buffer=0, signature=None, variable=False):
    return schema.TensorT(
        name=name, shape=list(shape), type=kind, buffer=buffer, shapeSignature=signature, isVariable=variable
    )


def operator(index, inputs, outputs, options=None, options_type=0):
    return schema.OperatorT(
        opcodeIndex=index, inputs=inputs, outputs=outputs, builtinOptions=options, builtinOptionsType=options_type
    )


def subgraph(tensors, operators, inputs, outputs):
    return schema.SubGraphT(tensors=tensors, operators=operators, inputs=inputs, outputs=outputs)


def model(kinds, subgraphs, weights=()):
    """Return a model; buffer 0 is the empty one, as the format wants it, the weights come after it."""
    made = schema.ModelT(version=3, subgraphs=subgraphs, buffers=[schema.BufferT()])
    made.buffers += [schema.BufferT(data=np.frombuffer(array.tobytes(), np.uint8)) for array in weights]
    made.operatorCodes = [
        schema.OperatorCodeT(builtinCode=kind, deprecatedBuiltinCode=min(kind, 127), version=1) for kind in kinds
    ]
    return made


def pack(made) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def write(path, kinds, subgraphs, weights=()):
    path.write_bytes(pack(model(kinds, subgraphs, weights)))
    return path


def decode(blob):
    return schema.ModelT.InitFromPackedBuf(blob, 0)


def add(left, right, made):
    """Return an ADD of two tensors; its code must be the first of the model."""
    return operator(0, [left, right], [made], schema.AddOptionsT(), Options.AddOptions)


def synthetic(tensors, seed):
    """Return inputs that reach all of a quantized range; zeros would hide a wrong zero point."""
    rng = np.random.default_rng(seed)
    made = {}
    for one in tensors:
        dtype = np.dtype(one.dtype)
        if dtype.kind == "f":
            made[one.name] = rng.standard_normal(one.shape).astype(dtype)
        elif dtype.kind == "b":
            made[one.name] = rng.integers(0, 2, one.shape).astype(dtype)
        else:
            made[one.name] = rng.integers(-128 if dtype.kind == "i" else 0, 128, one.shape).astype(dtype)
    return made


def segments_of(graph, seed):
    """Return random segments, at least two where the model has as many ops."""
    for attempt in range(seed * 1000, seed * 1000 + 1000):
        segments = random_segments(graph, attempt, devices=2 + seed % 4)
        if len(segments) > 1 or len(graph.ops) == 1:
            return segments
    raise AssertionError("no random cut has two segments")


class Whole:
    """A model loaded as it is."""

    def __init__(self, graph):
        self._graph = graph
        self._executor = TfliteExecutor(Path(graph.path).read_bytes(), 1, {})

    def run(self, feed):
        names = [one.name for one in self._graph.outputs]
        made = self._executor.run({name: feed[name] for name in self._executor.inputs}, names)
        return {name: array.copy() for name, array in zip(names, made, strict=True)}


class Divided:
    """A model cut and each part loaded; runs parts as their inputs become known."""

    def __init__(self, graph, segments):
        self._graph = graph
        self.parts = cut(graph, segments)
        self._executors = [
            TfliteExecutor(part.blob, 1, {one.name: one.shape for one in part.inputs}) for part in self.parts
        ]
        for part, executor in zip(self.parts, self._executors, strict=True):
            assert list(executor.inputs) == [one.name for one in part.inputs]
            assert list(executor.outputs) == [one.name for one in part.outputs]

    def run(self, feed):
        values = dict(feed)
        waiting = list(zip(self.parts, self._executors, strict=True))
        while waiting:
            ready = next(pair for pair in waiting if all(one.name in values for one in pair[0].inputs))
            waiting.remove(ready)
            part, executor = ready
            made = executor.run({one.name: values[one.name] for one in part.inputs}, [t.name for t in part.outputs])
            for one, array in zip(part.outputs, made, strict=True):
                assert (array.shape, array.dtype.name) == (one.shape, one.dtype), one.name
                values[one.name] = array.copy()
        return {one.name: values[one.name] for one in self._graph.outputs}


def assert_same_bits(graph, segments, seed, runs=2):
    """Check that a cut model gives the whole model's bits, run after run: state has to stay the same too."""
    whole, divided = Whole(graph), Divided(graph, segments)
    for run in range(runs):
        feed = synthetic(graph.inputs, 1000 * seed + run)
        wanted, made = whole.run(feed), divided.run(feed)
        assert wanted.keys() == made.keys()
        for name, array in wanted.items():
            assert array.tobytes() == made[name].tobytes(), f"{graph.path}: {name} in run {run} of seed {seed}"
    return divided.parts
