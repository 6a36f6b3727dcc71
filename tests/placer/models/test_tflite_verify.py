import struct

import flatbuffers
import pytest

from placer.errors import ProblemError
from placer.models.tflite_layout import layout, schema
from placer.models.tflite_verify import verify
from tests.placer.tflite_models import DATA, DATA_MODELS, Builtin, add, model, pack, subgraph, tensor


@pytest.fixture
def small():
    tensors = [tensor("x", (2,)), tensor("y", (2,))]
    return pack(model([Builtin.ADD], [subgraph(tensors, [add(0, 0, 1)], [0], [1])]))


def test_every_field_of_the_schema_is_known():
    fields = [(table, field) for table, slots in layout().items() for field in slots if field]
    assert [(table, field.name) for table, field in fields if field.kind == "unknown"] == []
    assert [table for _, field in fields for table in field.tables.values() if table not in {"NONE", *layout()}] == []


def test_the_layout_is_the_one_of_the_format():
    described = [(field.name, field.kind, field.bytes, field.element_bytes) for field in layout()["Tensor"] if field]
    assert described == [
        ("Shape", "vector", 4, 4),
        ("Type", "number", 1, 0),
        ("Buffer", "number", 4, 0),
        ("Name", "text", 4, 1),
        ("Quantization", "table", 4, 0),
        ("IsVariable", "number", 1, 0),
        ("Sparsity", "table", 4, 0),
        ("ShapeSignature", "vector", 4, 4),
        ("HasRank", "number", 1, 0),
        ("VariantTensors", "tables", 4, 0),
        ("ExternalBuffer", "number", 4, 0),
    ]
    zero_point = next(field for field in layout()["QuantizationParameters"] if field and field.name == "ZeroPoint")
    assert (zero_point.kind, zero_point.element_bytes) == ("vector", 8)
    options = layout()["Operator"][4]
    assert options.tables[schema().BuiltinOptions.Conv2DOptions] == "Conv2DOptions"


@pytest.mark.parametrize("name", DATA_MODELS)
def test_real_models_pass(name):
    verify((DATA / f"{name}.tflite").read_bytes(), layout())


def test_no_cut_off_file_passes(small):
    # The tables stand behind what points to them, and the last byte belongs to one of them or to a text.
    for size in range(len(small) - 4):
        with pytest.raises(ProblemError, match="TFLite model"):
            verify(small[:size], layout())


def root_of(content):
    return struct.unpack_from("<I", content)[0]


def test_an_offset_before_the_file_does_not_read_from_its_end(small):
    damaged = bytearray(small)
    struct.pack_into("<i", damaged, root_of(small), 10**6)
    with pytest.raises(ProblemError, match=rf"at byte {root_of(small) - 10**6}: 2 bytes are expected there"):
        verify(bytes(damaged), layout())


@pytest.mark.parametrize("offset", [0, 3, 2**32 - 1])
def test_offsets_point_into_the_file(small, offset):
    with pytest.raises(ProblemError, match=r"points into itself|are expected there"):
        verify(struct.pack("<I", offset) + small[4:], layout())


def test_fields_lie_in_their_table(small):
    vtable = root_of(small) - struct.unpack_from("<i", small, root_of(small))[0]
    damaged = bytearray(small)
    struct.pack_into("<H", damaged, vtable + 2, 6)
    with pytest.raises(ProblemError, match="is said to be outside of its Model"):
        verify(bytes(damaged), layout())
    struct.pack_into("<H", damaged, vtable, 3)
    with pytest.raises(ProblemError, match="a Model of 6 bytes is described in 3"):
        verify(bytes(damaged), layout())


def test_a_newer_schemas_fields_are_not_dropped_silently():
    builder = flatbuffers.Builder(64)
    builder.StartObject(12)
    builder.PrependInt32Slot(11, 7, 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    with pytest.raises(ProblemError, match="field 11 of a Model is unknown to the installed LiteRT; a newer one may"):
        verify(bytes(builder.Output()), layout())


def test_options_of_a_newer_schema_are_not_dropped_silently():
    made = model([Builtin.ADD], [subgraph([tensor("x", (2,)), tensor("y", (2,))], [add(0, 0, 1)], [0], [1])])
    made.subgraphs[0].operators[0].builtinOptionsType = 250
    with pytest.raises(ProblemError, match="BuiltinOptions are of type 250, unknown to the installed LiteRT"):
        verify(pack(made), layout())


def test_parts_shared_without_measure_end_the_reading():
    # 3,000 subgraphs that are all one subgraph with 3,000 times the same tensor: 9 million in 24 kB.
    builder = flatbuffers.Builder(1024)
    builder.StartObject(0)
    one = builder.EndObject()
    for slot in (0, 2):  # a subgraph's tensors, a model's subgraphs
        builder.StartVector(4, 3000, 4)
        for _ in range(3000):
            builder.PrependUOffsetTRelative(one)
        many = builder.EndVector()
        builder.StartObject(slot + 1)
        builder.PrependUOffsetTRelativeSlot(slot, many, 0)
        one = builder.EndObject()
    builder.Finish(one, b"TFL3")
    with pytest.raises(ProblemError, match="shared so often that reading it would not end soon"):
        verify(bytes(builder.Output()), layout())
