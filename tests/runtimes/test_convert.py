"""The converter: every datatype survives the wire, and nothing that does not fit gets in."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runtimes.convert import decode, encode, require_all, size_bytes, zeros
from runtimes.datatypes import DATATYPES, datatype_of
from runtimes.errors import BadRequest
from runtimes.protos import open_inference_grpc_pb2 as oip
from tests.runtimes.plans import tensor

Request = oip.ModelInferRequest
SPEC = tensor("x", (1, 4))


def sent(**fields) -> dict[str, np.ndarray]:
    """Send one tensor as a foreign client might, all of it right except ``fields``."""
    raw = fields.pop("raw", [bytes(16)])
    message = Request(raw_input_contents=raw)
    message.inputs.add(**{"name": "x", "datatype": "FP32", "shape": [1, 4], **fields})
    return decode(message.inputs, message.raw_input_contents, {"x": SPEC})


@given(st.data(), st.sampled_from([d for d in DATATYPES if d != "BYTES"]))
def test_every_datatype_survives_the_wire(data, dtype):
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    array = data.draw(hnp.arrays(DATATYPES[dtype], shape))
    spec = tensor("x", shape, dtype)
    message = Request()
    encode({"x": array}, [spec], message.inputs, message.raw_input_contents)
    back = decode(message.inputs, message.raw_input_contents, {"x": spec})["x"]
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert size_bytes([back]) == spec.bytes == len(message.raw_input_contents[0])


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_strings_survive_the_wire(items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    spec = tensor("x", (len(items),), "BYTES")
    message = Request()
    encode({"x": array}, [spec], message.inputs, message.raw_input_contents)
    assert list(decode(message.inputs, message.raw_input_contents, {"x": spec})["x"]) == items
    assert size_bytes([array]) == len(message.raw_input_contents[0])


def test_arrays_that_are_not_contiguous_travel_in_row_major_order():
    array = np.arange(8, dtype=np.float32).reshape(4, 2).T[:1]
    message = Request()
    encode({"x": array}, [SPEC], message.inputs, message.raw_input_contents)
    np.testing.assert_array_equal(decode(message.inputs, message.raw_input_contents, {"x": SPEC})["x"], array)


@pytest.mark.parametrize(
    ("dtype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]), ("INT8", "int_contents", [-128, 127]),
        ("INT16", "int_contents", [-1, 1]), ("INT32", "int_contents", [-(2**31), 1]),
        ("INT64", "int64_contents", [-(2**63), 1]), ("UINT8", "uint_contents", [0, 255]),
        ("UINT16", "uint_contents", [0, 65535]), ("UINT32", "uint_contents", [0, 2**32 - 1]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]), ("FP32", "fp32_contents", [0.5, -1.0]),
        ("FP64", "fp64_contents", [0.1, -1.0]), ("BYTES", "bytes_contents", [b"a", b""]),
    ],
)  # fmt: skip
def test_typed_contents_are_read(dtype, field, values):
    message = Request()
    item = message.inputs.add(name="x", datatype=dtype, shape=[2])
    getattr(item.contents, field).extend(values)
    array = decode(message.inputs, [], {"x": tensor("x", (2,), dtype)})["x"]
    assert array.dtype == DATATYPES[dtype]
    assert array.tolist() == values


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"raw": [bytes(15)]}, "15 raw bytes.*takes 16"),
        ({"raw": [bytes(17)]}, "17 raw bytes.*takes 16"),
        ({"raw": [bytes(16), b""]}, "2 raw buffers for 1 tensors"),
        ({"raw": []}, "0 values in fp32_contents"),
        ({"shape": [1, -1]}, r"shape \[1, -1\]"),
        ({"shape": [-2, -2]}, r"shape \[-2, -2\]"),
        ({"shape": [2**32, 2**32]}, r"shape \[4294967296, 4294967296\]"),
        ({"shape": [4]}, r"shape \[4\]"),
        ({"shape": [1] * 100}, "shape"),
        ({"datatype": "FP64"}, "datatype 'FP64'"),
        ({"datatype": ""}, "datatype ''"),
        ({"name": "z"}, "'z' is unknown; expected are"),
        ({"contents": oip.InferTensorContents(fp32_contents=[1, 2, 3, 4])}, "typed contents beside raw"),
        ({"raw": [], "contents": oip.InferTensorContents(fp32_contents=[1])}, "1 values in fp32_contents"),
        ({"raw": [], "contents": oip.InferTensorContents(int_contents=[1, 2, 3, 4])}, "fp32_contents is expected"),
    ],
)
def test_what_does_not_fit_is_refused(fields, says):
    with pytest.raises(BadRequest, match=says):
        sent(**fields)


@pytest.mark.parametrize(
    ("dtype", "field", "values", "says"),
    [
        ("INT8", "int_contents", [128, 0], "outside INT8: 0 to 128"),
        ("UINT16", "uint_contents", [65536, 0], "outside UINT16"),
        ("FP16", "uint_contents", [1, 2], "FP16, which has no typed contents"),
        ("BF16", "uint_contents", [1, 2], "BF16, which has no typed contents"),
        ("BYTES", "bytes_contents", [b"a"], "1 values in bytes_contents"),
    ],
)
def test_typed_contents_that_do_not_fit_are_refused(dtype, field, values, says):
    message = Request()
    item = message.inputs.add(name="x", datatype=dtype, shape=[2])
    getattr(item.contents, field).extend(values)
    with pytest.raises(BadRequest, match=says):
        decode(message.inputs, [], {"x": tensor("x", (2,), dtype)})


@pytest.mark.parametrize(
    ("buffer", "says"),
    [
        (b"\xff\xff\xff\xffab", "said to have 4294967295 bytes, 2 are left"),
        (b"\x01\x00\x00\x00a", "1 elements"),
        (b"\x00\x00\x00\x00" * 3, "left over after 2 elements"),
        (b"\x00\x00\x00\x00\x00", "left over after 1 elements"),
    ],
)
def test_strings_that_do_not_fit_are_refused(buffer, says):
    message = Request(raw_input_contents=[buffer])
    message.inputs.add(name="x", datatype="BYTES", shape=[2])
    with pytest.raises(BadRequest, match=says):
        decode(message.inputs, message.raw_input_contents, {"x": tensor("x", (2,), "BYTES")})


def test_a_tensor_given_twice_is_refused():
    message = Request(raw_input_contents=[bytes(16)] * 2)
    for _ in range(2):
        message.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    with pytest.raises(BadRequest, match="given twice"):
        decode(message.inputs, message.raw_input_contents, {"x": SPEC})


def test_missing_and_wrong_arrays_are_not_sent():
    message = Request()
    with pytest.raises(BadRequest, match=r"'x' is missing; given are \['z'\]"):
        encode({"z": zeros(SPEC)}, [SPEC], message.inputs, message.raw_input_contents)
    with pytest.raises(BadRequest, match=r"float64\[1, 4\]; FP32"):
        encode({"x": np.zeros((1, 4))}, [SPEC], message.inputs, message.raw_input_contents)
    with pytest.raises(BadRequest, match=r"\['x'\] are missing"):
        require_all({}, [SPEC])


def test_datatypes_of_numpy_types():
    assert {datatype_of(dtype) for name, dtype in DATATYPES.items() if name != "BF16"} == DATATYPES.keys() - {"BF16"}
    assert datatype_of(np.dtype(np.complex64)) is None


@given(st.data())
def test_a_damaged_request_is_refused_or_still_fits(data):
    message = Request(model_name="flow")
    encode({"x": zeros(SPEC)}, [SPEC], message.inputs, message.raw_input_contents)
    bytes_ = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    try:
        damaged = Request.FromString(bytes(bytes_))
        arrays = decode(damaged.inputs, damaged.raw_input_contents, {"x": SPEC})
    except (BadRequest, DecodeError):
        return
    assert all((a.dtype, a.shape) == (np.float32, (1, 4)) for a in arrays.values())
