"""Messages cut and joined by hand are those of protobuf, whatever is in them."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from runtimes import wire
from runtimes.convert import aligned, decode, lay_out
from runtimes.errors import BadRequest
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.specs import TensorSpec
from runtimes.wire import Packed, ReplyForm, read_head, read_request, write_reply, write_request


@pytest.fixture(autouse=True, params=["views", "copies", "protobuf"])
def _every_way(request, monkeypatch):
    monkeypatch.setattr(wire, "_SMALL_BYTES", 0 if request.param == "views" else 1 << 40)
    if request.param == "protobuf":
        monkeypatch.setattr(wire, "_MOST_FIELDS", 0)


def whole(message: oip.ModelInferRequest, raw: list[bytes]) -> oip.ModelInferRequest:
    made = oip.ModelInferRequest()
    made.CopyFrom(message)
    made.raw_input_contents.extend(raw)
    return made


messages = st.builds(
    lambda name, id_, names, number: _message(name, id_, names, number),
    st.text(max_size=20), st.text(max_size=300), st.lists(st.text(max_size=5), max_size=5), st.floats(allow_nan=False),
)  # fmt: skip


def _message(name: str, id_: str, names: list[str], number: float) -> oip.ModelInferRequest:
    message = oip.ModelInferRequest(model_name=name, id=id_)
    for given_name in names:
        message.inputs.add(name=given_name, datatype="FP32", shape=(-1, 2**40))
        message.parameters[given_name].double_param = number
    return message


@given(messages, st.lists(st.binary(max_size=400), max_size=5))
def test_what_is_written_is_what_protobuf_reads(message, raw):
    assert oip.ModelInferRequest.FromString(write_request(Packed(message, raw))) is not None
    read = oip.ModelInferRequest.FromString(write_request(Packed(message, raw)))
    read.DiscardUnknownFields()
    assert read == whole(message, raw)
    again = read_request(write_request(Packed(message, raw)))
    assert [bytes(buffer) for buffer in again.raw] == raw
    assert again.id == message.id
    head = read_head(again)
    head.DiscardUnknownFields()
    head.id = again.id
    assert head == message


@given(messages, messages)
def test_requests_that_differ_in_id_and_contents_alone_have_one_head(message, other):
    heads = set()
    for name, contents in ((message.id, b"1"), (other.id, b"22")):
        message.id = name
        heads.add(read_request(whole(message, [contents]).SerializeToString(deterministic=True)).head)
    assert len(heads) == 1


@given(messages, st.lists(st.binary(max_size=400), max_size=5))
def test_what_protobuf_writes_is_what_is_read(message, raw):
    read = read_request(whole(message, raw).SerializeToString())
    assert [bytes(buffer) for buffer in read.raw] == raw


@given(st.binary(max_size=300))
def test_bytes_are_read_as_protobuf_reads_them_or_refused(data):
    try:
        theirs = oip.ModelInferRequest.FromString(data)
    except DecodeError:
        with pytest.raises((DecodeError, BadRequest)):
            read_head(read_request(data))
        return
    received = read_request(data)
    assert [bytes(buffer) for buffer in received.raw] == list(theirs.raw_input_contents)
    head = read_head(received)
    assert not head.raw_input_contents
    assert not head.id
    head.id = received.id
    del theirs.raw_input_contents[:]
    # Byte for byte, since NaN is not equal to itself.
    assert head.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


@given(st.lists(st.binary(max_size=300), max_size=3), st.text(max_size=300))
def test_a_form_writes_what_protobuf_would(raw, name):
    specs = [TensorSpec(name=f"y{i}", port="p", dtype="BYTES", shape=(i, 300)) for i in range(len(raw))]
    reply = oip.ModelInferResponse(model_name="m", model_version="7", id=name, raw_output_contents=raw)
    for spec in specs:
        reply.outputs.add(name=spec.name, datatype=spec.dtype, shape=spec.shape)
    assert oip.ModelInferResponse.FromString(ReplyForm("m", "7", specs).write(name, raw)) == reply


def test_a_reply_has_no_filler_for_foreign_clients():
    reply = oip.ModelInferResponse(model_name="m")
    read = oip.ModelInferResponse.FromString(write_reply(Packed(reply, [b"x" * 100])))
    assert list(read.raw_output_contents) == [b"x" * 100]
    assert read.ByteSize() == len(write_reply(Packed(reply, [b"x" * 100])))


def test_more_fields_than_a_request_has_are_left_to_protobuf(monkeypatch):
    monkeypatch.setattr(wire, "_MOST_FIELDS", 10)
    message = whole(oip.ModelInferRequest(), [b"a"] * 50)
    assert list(read_request(message.SerializeToString()).raw) == [b"a"] * 50


@given(st.integers(0, 40), st.lists(st.integers(1, 60), min_size=1, max_size=4))
def test_agents_tensors_arrive_aligned_and_uncopied(length, sizes):
    specs = {f"t{i}": TensorSpec(name=f"t{i}", port="p", dtype="FP64", shape=(n,)) for i, n in enumerate(sizes)}
    arrays = {name: np.arange(spec.elements, dtype=np.float64) + 1 for name, spec in specs.items()}
    message = oip.ModelInferRequest(id="x" * length)
    data = write_request(Packed(message, lay_out(arrays, specs.values(), message.inputs)))
    received = read_request(data)
    read = decode(read_head(received).inputs, received.raw, specs)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert not read[name].flags.writeable
        assert read[name].ctypes.data % 16 == 0


@pytest.mark.parametrize("size", [8, 1 << 15])
def test_a_foreign_tensor_at_an_odd_place_is_moved_for_who_needs_that(size, monkeypatch):
    if wire._SMALL_BYTES == 0:
        monkeypatch.setattr(wire, "_SMALL_BYTES", 1 << 16)
    spec = TensorSpec(name="x", port="x", dtype="FP32", shape=(size,))
    x = np.arange(size, dtype=np.float32)
    moved = 0
    for length in range(16):
        message = oip.ModelInferRequest(id="y" * length, raw_input_contents=[x.tobytes()])
        message.inputs.add(name="x", datatype="FP32", shape=(size,))
        received = read_request(message.SerializeToString())
        read = decode(read_head(received).inputs, received.raw, {"x": spec})["x"]
        np.testing.assert_array_equal(read, x)
        assert not read.flags.writeable
        placed = aligned(read)
        np.testing.assert_array_equal(placed, x)
        assert placed.ctypes.data % 16 == 0
        moved += placed is not read
    # Only what was left in its message, which begins where the C library begins memory.
    assert moved == (15 if size == 1 << 15 and wire._SMALL_BYTES == 1 << 16 and wire._MOST_FIELDS else 0)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (), (3, 1, 2)])
@pytest.mark.parametrize("dtype", ["FP32", "BOOL", "BF16", "INT8", "BYTES"])
def test_every_shape_and_type_goes_there_and_back(shape, dtype):
    spec = TensorSpec(name="x", port="x", dtype=dtype, shape=shape)
    kinds = {"FP32": np.float32, "BOOL": np.bool_, "BF16": np.uint16, "INT8": np.int8, "BYTES": object}
    array = np.full(shape, b"ab" if dtype == "BYTES" else 1, kinds[dtype])
    message = oip.ModelInferRequest()
    raw = lay_out({"x": array}, [spec], message.inputs)
    received = read_request(write_request(Packed(message, raw)))
    np.testing.assert_array_equal(decode(read_head(received).inputs, received.raw, {"x": spec})["x"], array)


def test_an_array_that_is_not_in_one_piece_is_laid_out_in_order():
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    spec = TensorSpec(name="x", port="x", dtype="FP32", shape=(4, 3))
    (raw,) = lay_out({"x": array}, [spec], oip.ModelInferRequest().inputs)
    assert bytes(raw) == array.tobytes()
