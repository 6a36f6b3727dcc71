"""What an ONNX file is refused for before a runtime sees it, found by walking over its protobuf fields.

A runtime expands, folds and allocates while it loads, so what a file asks for is counted first: nested local functions,
whose size doubles with each level, tensors that are not in the file, operators of others. The walk copies nothing and
takes time in proportion to the file's nodes. Devices have no ``onnx`` package, and need only these few fields.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from runtimes.errors import BadManifest
from runtimes.varint import read_varint

if TYPE_CHECKING:
    from collections.abc import Iterator

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Whose operators may occur: those that ONNX Runtime itself has. Local functions are made of them."""
MOST_NODES = 200_000
"""After the expansion of all local functions; models of billions of parameters have some ten thousand."""
# Of graphs within graphs; protobuf's own limit of 100 messages is reached at 33.
_DEEPEST = 32
_MOST_DIMENSIONS = 64
# Elements of the narrowest type, of two bits.
_ELEMENTS_PER_BYTE = 4

# Numbers of the fields that matter here, of onnx.proto3 (ONNX 1.23, Apache-2.0).
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE_INITIALIZER = 1, 5, 15
_NODE_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN, _NODE_OVERLOAD = 4, 5, 7, 8
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_FUNCTION_NAME, _FUNCTION_NODE, _FUNCTION_DOMAIN, _FUNCTION_ATTRIBUTE, _FUNCTION_OVERLOAD = 1, 7, 10, 11, 13
_SPARSE_PARTS = (1, 2)
_TENSOR_DIMS, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 8, 13, 14
_TENSOR_DATA = (4, 5, 6, 7, 9, 10, 11)
# Protobuf's wire types.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Field: TypeAlias = "tuple[int, int | memoryview]"


class _Operator(NamedTuple):
    domain: str
    name: str
    overload: str

    def __str__(self) -> str:
        return f"{self.domain or 'ai.onnx'}:{self.name}"


def check_onnx(model: bytes) -> None:
    """Refuse a file that asks for what a segment may not have.

    Parameters
    ----------
    model
        The file's bytes.

    Raises
    ------
    BadManifest
        If it is no protobuf message, has tensors outside the file or larger than their data, uses operators that are
        not ONNX Runtime's own, or its local functions call themselves or expand to more than ``MOST_NODES`` nodes.
    """
    try:
        _Check(memoryview(model)).run()
    except (IndexError, ValueError) as error:
        raise BadManifest(f"it is no ONNX file: {error}") from error


class _Check:
    def __init__(self, model: memoryview) -> None:
        self._model = model
        # Of the body that is being read: how often it calls what.
        self._calls: defaultdict[_Operator, int] = defaultdict(int)

    def run(self) -> None:
        functions: dict[_Operator, dict[_Operator, int]] = {}
        main: defaultdict[_Operator, int] = defaultdict(int)
        for number, value in _fields(self._model):
            if number == _MODEL_FUNCTIONS:
                self._calls = defaultdict(int)
                functions[self._function(_message(value))] = self._calls
            elif number == _MODEL_GRAPH:
                self._calls = main
                self._graph(_message(value), 1)
            elif number == _MODEL_TRAINING:
                raise BadManifest("it carries training information, which a segment does not need")
        for calls in (main, *functions.values()):
            for operator in calls:
                if operator not in functions and operator.domain not in DOMAINS:
                    raise BadManifest(
                        f"operator {operator} is not allowed: operators are of {', '.join(filter(None, DOMAINS))}, "
                        "or functions of the file itself"
                    )
        nodes = _expanded(main, functions)
        if nodes > MOST_NODES:
            raise BadManifest(f"its functions expand to {nodes} nodes; at most {MOST_NODES} are taken")

    def _function(self, function: memoryview) -> _Operator:
        text = {_FUNCTION_DOMAIN: "", _FUNCTION_NAME: "", _FUNCTION_OVERLOAD: ""}
        for number, value in _fields(function):
            if number in text:
                text[number] = str(_message(value), "utf-8")
            elif number == _FUNCTION_NODE:
                self._node(_message(value), 1)
            elif number == _FUNCTION_ATTRIBUTE:
                self._attribute(_message(value), 1)
        return _Operator(*text.values())

    def _graph(self, graph: memoryview, depth: int) -> None:
        if depth > _DEEPEST:
            raise BadManifest(f"its graphs are nested more than {_DEEPEST} deep")
        for number, value in _fields(graph):
            if number == _GRAPH_NODE:
                self._node(_message(value), depth)
            elif number == _GRAPH_INITIALIZER:
                _check_tensor(_message(value))
            elif number == _GRAPH_SPARSE_INITIALIZER:
                _check_sparse(_message(value))

    def _node(self, node: memoryview, depth: int) -> None:
        text = {_NODE_DOMAIN: "", _NODE_TYPE: "", _NODE_OVERLOAD: ""}
        for number, value in _fields(node):
            if number in text:
                text[number] = str(_message(value), "utf-8")
            elif number == _NODE_ATTRIBUTE:
                self._attribute(_message(value), depth)
        self._calls[_Operator(*text.values())] += 1

    def _attribute(self, attribute: memoryview, depth: int) -> None:
        for number, value in _fields(attribute):
            if number in _ATTRIBUTE_TENSORS:
                _check_tensor(_message(value))
            elif number in _ATTRIBUTE_GRAPHS:
                self._graph(_message(value), depth + 1)
            elif number in _ATTRIBUTE_SPARSE:
                _check_sparse(_message(value))


def _expanded(main: dict[_Operator, int], functions: dict[_Operator, dict[_Operator, int]]) -> int:
    """Count the nodes of the graph with every call of a function replaced by its body."""
    sizes: dict[_Operator, int] = {}

    def size(operator: _Operator, callers: tuple[_Operator, ...]) -> int:
        body = functions.get(operator)
        if body is None:
            return 1
        if operator in callers:
            raise BadManifest(f"its function {operator} calls itself")
        if len(callers) > _DEEPEST:
            raise BadManifest(f"its functions call each other more than {_DEEPEST} deep")
        if operator not in sizes:
            sizes[operator] = sum(times * size(called, (*callers, operator)) for called, times in body.items())
        return sizes[operator]

    return sum(times * size(called, ()) for called, times in main.items())


def _check_tensor(tensor: memoryview) -> None:
    name = ""
    shape: list[int] = []
    stored = 0
    for number, value in _fields(tensor):
        if number == _TENSOR_DIMS:
            shape += _numbers(value)
        elif number == _TENSOR_NAME:
            name = str(_message(value), "utf-8")
        elif number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise BadManifest(f"tensor {name!r} has its data in another file; a segment is one file")
        elif number in _TENSOR_DATA:
            # A single value of its own tag, or an empty string, counts as one byte.
            stored += 1 if isinstance(value, int) else max(1, len(value))
    if len(shape) > _MOST_DIMENSIONS:
        raise BadManifest(f"tensor {name!r} has {len(shape)} dimensions; at most {_MOST_DIMENSIONS} are taken")
    elements = math.prod(shape)
    if elements > stored * _ELEMENTS_PER_BYTE:
        raise BadManifest(f"tensor {name!r} is said to have {elements} elements, in {stored} bytes of data")


def _check_sparse(sparse: memoryview) -> None:
    for number, value in _fields(sparse):
        if number in _SPARSE_PARTS:
            _check_tensor(_message(value))


def _fields(message: memoryview) -> Iterator[Field]:
    """Give the fields of a message: numbers as integers, all else as the bytes that stand there."""
    at, end = 0, len(message)
    while at < end:
        tag, at = read_varint(message, at)
        kind = tag & 7
        value: int | memoryview
        if kind == _VARINT:
            value, at = read_varint(message, at)
        elif kind == _BYTES:
            size, at = read_varint(message, at)
            value, at = message[at : at + size], at + size
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
            value, at = message[at : at + size], at + size
        else:
            raise ValueError(f"byte {at} begins a field of wire type {kind}")
        if at > end:
            raise ValueError("a field is longer than its message")
        yield tag >> 3, value


def _numbers(value: int | memoryview) -> Iterator[int]:
    """Give repeated whole numbers, of which one or many stand in a field; negative ones are huge there."""
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = read_varint(value, at)
        yield number


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError(f"the number {value} stands where a message or text should")
    return value
