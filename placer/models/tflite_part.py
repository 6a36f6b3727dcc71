"""Writes some operators of a TFLite model as a model of their own, with the constants and bodies they need."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import flatbuffers  # type: ignore[import-untyped]

from placer.errors import ProblemError
from placer.models.tflite_layout import schema
from placer.models.tflite_model import CALL_LIST_FIELDS, called, integers
from placer.models.tflite_verify import IDENTIFIER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from placer.models.graph import Tensor
    from placer.models.tflite_model import TfliteFile, TfliteOperator, TfliteSubgraph
    from placer.models.tflite_ops import TfliteOps

# LiteRT's kernels expect constants at addresses of this multiple.
_ALIGNMENT_BYTES = 16
# Room for the tables beside the constants; the builder doubles it when it is not enough.
_TABLES_BYTES = 1 << 16


def write_part(
    file: TfliteFile, ops: TfliteOps, inside: Iterable[int], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> bytes:
    """Write the file of one segment.

    Tensors at the boundary keep type, shape and quantization, so that int8 crosses as int8. The model's metadata,
    description and signatures describe the whole and are left out.

    Parameters
    ----------
    file, ops
        The whole model.
    inside
        Places of the segment's ops in `ops`.
    inputs, outputs
        The segment's boundary, in the order in which the part shall have it.

    Raises
    ------
    ProblemError
        The part would be larger than a flatbuffer can be.
    """
    members = [position for place in inside for position in ops.members[place]]
    part = _Part(file)
    part.add_main(ops, members, [tensor.name for tensor in inputs], [tensor.name for tensor in outputs])
    return part.pack()


class _Part:
    """A model under construction; buffers, operator codes and bodies are numbered in the order of first use."""

    def __init__(self, file: TfliteFile) -> None:
        self._file = file
        self._buffers: dict[int, int] = {0: 0}
        self._codes: dict[int, int] = {}
        self._bodies: dict[int, int] = {0: 0}
        self._subgraphs: list[Any] = []

    def add_main(
        self, ops: TfliteOps, members: Sequence[int], inputs: Sequence[str], outputs: Sequence[str]
    ) -> None:  # fmt: skip
        """Add the operators of a segment, the constants they need, and the bodies they call."""
        graph = self._file.subgraphs[0]
        cone, _ = ops.constant_cone(graph, members)
        index_of = {tensor.name: index for index, tensor in enumerate(graph.tensors)}
        positions = sorted({*cone, *members})
        operators = [graph.operators[position] for position in positions]
        ports = [[index_of[name] for name in names] for names in (inputs, outputs)]
        self._subgraphs.append(self._subgraph(graph, operators, *ports))
        while len(self._subgraphs) < len(self._bodies):
            body = self._file.subgraphs[list(self._bodies)[len(self._subgraphs)]]
            self._subgraphs.append(self._subgraph(body, body.operators, body.inputs, body.outputs))

    def pack(self) -> bytes:
        """Return the file."""
        whole = self._file.model
        model = schema().ModelT(version=whole.version)
        model.operatorCodes = [whole.operatorCodes[index] for index in self._codes]
        model.subgraphs = self._subgraphs
        contents = [self._file.buffers[index] for index in self._buffers if index]
        # Index 0 is the empty buffer, as the format wants it.
        model.buffers = [schema().BufferT(), *(_AlignedBuffer(content.tobytes()) for content in contents)]
        builder = flatbuffers.Builder(sum(len(content) for content in contents) + _TABLES_BYTES)
        try:
            builder.Finish(model.Pack(builder), IDENTIFIER)
        except flatbuffers.builder.BuilderSizeError as error:
            raise ProblemError(f"{self._file.path}: a segment is larger than a file can be: {error}") from error
        return bytes(builder.Output())

    def _subgraph(
        self,
        graph: TfliteSubgraph,
        operators: Sequence[TfliteOperator],
        inputs: Sequence[int],
        outputs: Sequence[int],
    ) -> Any:
        used = {*inputs, *outputs}
        for operator in operators:
            used.update(operator.inputs, operator.outputs, integers(operator.source.intermediates))
        numbers = {index: number for number, index in enumerate(sorted(used - {-1}))}
        numbers[-1] = -1
        made = schema().SubGraphT()
        made.name = graph.source.name
        made.tensors = [self._tensor(graph, index) for index in sorted(used - {-1})]
        made.operators = [self._operator(operator, numbers) for operator in operators]
        made.inputs = [numbers[index] for index in inputs]
        made.outputs = [numbers[index] for index in outputs]
        return made

    def _tensor(self, graph: TfliteSubgraph, index: int) -> Any:
        made = copy.copy(graph.source.tensors[index])
        # The name by which the executor finds it, unique where the file's own is not.
        made.name = graph.tensors[index].name
        buffer = graph.tensors[index].buffer
        made.buffer = self._buffers.setdefault(buffer, len(self._buffers))
        return made

    def _operator(self, operator: TfliteOperator, numbers: Mapping[int, int]) -> Any:
        made = copy.copy(operator.source)
        made.opcodeIndex = self._codes.setdefault(made.opcodeIndex, len(self._codes))
        made.inputs = [numbers[index] for index in operator.inputs]
        made.outputs = [numbers[index] for index in operator.outputs]
        if made.intermediates is not None:
            made.intermediates = [numbers[index] for index in integers(operator.source.intermediates)]
        made.debugMetadataIndex = -1
        made.builtinOptions = self._options(made.builtinOptions)
        made.builtinOptions2 = self._options(made.builtinOptions2)
        return made

    def _options(self, options: Any) -> Any:
        """Return options that name the part's subgraphs instead of the whole model's."""
        made = copy.copy(options)
        for field, indices in called(options):
            numbers = [self._bodies.setdefault(index, len(self._bodies)) for index in indices]
            setattr(made, field, numbers if field in CALL_LIST_FIELDS else numbers[0])
        return made


class _AlignedBuffer:
    """A constant's bytes, packed as schema.BufferT would, but at an aligned place."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def Pack(self, builder: Any) -> int:  # noqa: N802  ModelT.Pack calls it so
        builder.Prep(_ALIGNMENT_BYTES, len(self._content))
        data = builder.CreateByteVector(self._content)
        names = schema()
        names.BufferStart(builder)
        names.BufferAddData(builder, data)
        return int(names.BufferEnd(builder))
