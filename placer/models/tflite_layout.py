"""How each table of a .tflite file is laid out, asked of the very code that decodes it, so that both agree.

LiteRT ships its schema as generated Python: per field one function that writes it with a flatbuffers.Builder.
Called with a builder that only takes notes, each tells its field's place and size.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from placer.errors import ProblemError

# What a field holds cannot be told from its writer if it is an offset to something else than numbers.
_TABLES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("Model", "OperatorCodes"): "OperatorCode",
        ("Model", "Subgraphs"): "SubGraph",
        ("Model", "Buffers"): "Buffer",
        ("Model", "Metadata"): "Metadata",
        ("Model", "SignatureDefs"): "SignatureDef",
        ("Model", "ExternalBufferGroups"): "ExternalBufferGroup",
        ("Model", "ExternalBuffers"): "ExternalBuffer",
        ("SubGraph", "Tensors"): "Tensor",
        ("SubGraph", "Operators"): "Operator",
        ("Tensor", "Quantization"): "QuantizationParameters",
        ("Tensor", "Sparsity"): "SparsityParameters",
        ("Tensor", "VariantTensors"): "VariantSubType",
        ("SparsityParameters", "DimMetadata"): "DimensionMetadata",
        ("SignatureDef", "Inputs"): "TensorMap",
        ("SignatureDef", "Outputs"): "TensorMap",
    }
)
_UNIONS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("Operator", "BuiltinOptions"): "BuiltinOptions",
        ("Operator", "BuiltinOptions2"): "BuiltinOptions2",
        ("QuantizationParameters", "Details"): "QuantizationDetails",
        ("DimensionMetadata", "ArraySegments"): "SparseIndexVector",
        ("DimensionMetadata", "ArrayIndices"): "SparseIndexVector",
    }
)
_STRINGS = frozenset(
    {
        ("Model", "Description"),
        ("SubGraph", "Name"),
        ("Tensor", "Name"),
        ("OperatorCode", "CustomCode"),
        ("Metadata", "Name"),
        ("TensorMap", "Name"),
        ("SignatureDef", "SignatureKey"),
        ("ExternalBufferGroup", "Name"),
        ("ExternalBuffer", "Packing"),
        ("VarHandleOptions", "Container"),
        ("VarHandleOptions", "SharedName"),
        ("StablehloCustomCallOptions", "CallTargetName"),
        ("StablehloCustomCallOptions", "BackendConfig"),
        ("StableHLOCompositeOptions", "Name"),
    }
)
_OFFSET_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a table.

    Parameters
    ----------
    name
        As the generated code has it.
    kind
        A number, numbers, text, one table, several, or a table whose type the field before it tells;
        "unknown" for what a newer schema has and this reader does not know.
    bytes
        Of the field in its table.
    element_bytes
        Of one element of a vector or text; 0 otherwise.
    tables
        Names of the tables it may point to, by the union's type; one at 0 where there is no choice.
    """

    name: str
    kind: Literal["number", "vector", "text", "table", "tables", "union", "unknown"]
    bytes: int
    element_bytes: int = 0
    tables: Mapping[int, str] = field(default_factory=dict)


Layout = Mapping[str, tuple[Field | None, ...]]
"""Fields of every table by its name and their place; None is a field that the schema no longer has."""


def schema() -> Any:
    """Import LiteRT's schema.

    Raises
    ------
    ProblemError
        LiteRT is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise ProblemError(
            "reading a .tflite model needs LiteRT; install it: pip install 'placer-joules[tflite]'"
        ) from error
    return schema_py_generated


@functools.cache
def layout() -> Layout:
    """Return the layout of every table of the installed schema.

    Raises
    ------
    ProblemError
        LiteRT is not installed.
    """
    names = vars(schema())
    tables = [name for name, value in names.items() if isinstance(value, type) and hasattr(value, "GetRootAs")]
    return MappingProxyType({table: _fields(table, names) for table in tables})


def enum_names(enum: type) -> dict[int, str]:
    """Return the names of an enumeration of the schema by value."""
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


class _NoteTaker:
    """Stands where a flatbuffers.Builder does and notes the last call: its method and arguments."""

    def __init__(self) -> None:
        self.method = ""
        self.arguments: tuple[Any, ...] = ()

    def __getattr__(self, method: str) -> Any:
        def note(*arguments: Any) -> int:
            self.method, self.arguments = method, arguments
            return 0

        return note


def _noted(function: Any, *arguments: Any) -> _NoteTaker:
    taker = _NoteTaker()
    function(taker, *arguments)
    return taker


def _fields(table: str, names: Mapping[str, Any]) -> tuple[Field | None, ...]:
    fields: list[Field | None] = [None] * _noted(names[f"{table}Start"]).arguments[0]
    for name, function in names.items():
        if not name.startswith(f"{table}Add"):
            continue
        taken = name.removeprefix(f"{table}Add")
        note = _noted(function, 0)
        fields[note.arguments[0]] = _field(table, taken, note.method, names)
    return tuple(fields)


def _field(table: str, name: str, method: str, names: Mapping[str, Any]) -> Field:
    if method != "PrependUOffsetTRelativeSlot":
        bits = re.search(r"\d+", method)
        return Field(name=name, kind="number", bytes=int(bits.group()) // 8 if bits else 1)
    key = (table, name)
    if key in _UNIONS:
        members = enum_names(names[_UNIONS[key]])
        return Field(name=name, kind="union", bytes=_OFFSET_BYTES, tables=members)
    start = names.get(f"{table}Start{name}Vector")
    if key in _TABLES:
        return Field(name=name, kind="tables" if start else "table", bytes=_OFFSET_BYTES, tables={0: _TABLES[key]})
    if key in _STRINGS:
        return Field(name=name, kind="text", bytes=_OFFSET_BYTES, element_bytes=1)
    # Only vectors of numbers can be had as arrays.
    if start and hasattr(names[table], f"{name}AsNumpy"):
        element_bytes = _noted(start, 0).arguments[0]
        return Field(name=name, kind="vector", bytes=_OFFSET_BYTES, element_bytes=element_bytes)
    return Field(name=name, kind="unknown", bytes=_OFFSET_BYTES)
