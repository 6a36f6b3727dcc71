"""The shared memory: every tensor at its place, of a size that neither side can change."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.convert import of_raw
from runtimes.datatypes import DATATYPES
from runtimes.errors import Failed
from runtimes.isolation.arena import Arena, arena_bytes, make_arena, own
from tests.runtimes.plans import tensor
from tests.runtimes.test_session import segment

if TYPE_CHECKING:
    from runtimes.specs import TensorSpec


@st.composite
def arrays(draw: st.DrawFn, prefix: str) -> dict[str, tuple[TensorSpec, np.ndarray]]:
    made = {}
    for index in range(draw(st.integers(1, 4))):
        dtype = draw(st.sampled_from(sorted(DATATYPES)))
        shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
        size = int(np.prod(shape))
        if dtype == "BYTES":
            flat = np.empty(size, dtype=object)
            flat[:] = draw(st.lists(st.binary(max_size=5), min_size=size, max_size=size))
            array = flat.reshape(shape)
        else:
            kind = DATATYPES[dtype]
            raw = np.random.default_rng(draw(st.integers(0, 9))).bytes(size * kind.itemsize)
            array = np.frombuffer(raw, np.uint8).copy()
            array = (array & 1).view(np.bool_).reshape(shape) if dtype == "BOOL" else array.view(kind).reshape(shape)
        name = f"{prefix}{index}"
        made[name] = (tensor(name, shape, dtype), array)
    return made


@given(arrays("i"), arrays("o"))
def test_what_one_side_puts_the_other_finds(inputs, outputs):
    spec = segment(b"m", [s for s, _ in inputs.values()], [s for s, _ in outputs.values()])
    agent, child = arenas(spec)
    given_in = {name: a for name, (_, a) in inputs.items()}
    given_out = {name: a for name, (_, a) in outputs.items()}
    found_in = child.inputs(agent.put_inputs(given_in))
    found_out = agent.take_outputs(0, child.put_outputs(0, given_out))
    # Both at once: no place is used twice.
    found_in = {name: a.copy() for name, a in found_in.items()}
    for found, put in ((found_in, given_in), (found_out, given_out)):
        assert found.keys() == put.keys()
        for name, array in put.items():
            assert found[name].dtype == array.dtype
            assert found[name].shape == array.shape
            assert found[name].tobytes() == array.tobytes() or found[name].tolist() == array.tolist()


def arenas(spec) -> tuple[Arena, Arena]:
    descriptor = make_arena(spec)
    try:
        return Arena(spec, descriptor), Arena(spec, descriptor)
    finally:
        os.close(descriptor)


def execute(agent: Arena, child: Arena, value: float) -> np.ndarray:
    place = agent.free_place()
    child.put_outputs(place, {"y": np.full((1, 1 << 16), value, np.float32)})
    return agent.take_outputs(place, b"")["y"]


def test_large_outputs_stay_where_they_are_while_somebody_reads_them():
    agent, child = arenas(segment(b"m", [tensor("x")], [tensor("y", (1, 1 << 16))]))
    first = execute(agent, child, 1)
    assert not first.flags.writeable
    # Whoever sends them holds some view of them and no more.
    part = memoryview(first.reshape(-1)[5:].view(np.uint8))
    del first
    second, third = execute(agent, child, 2), execute(agent, child, 3)
    assert np.frombuffer(part, np.float32)[0] == 1
    assert (second == 2).all()
    assert (third == 3).all()
    # Two places: of three one is a copy, and a copy is all that may be kept.
    assert [own({"y": array})["y"] is array for array in (second, third)] == [True, True]
    del part
    fourth = execute(agent, child, 4)
    assert own({"y": fourth})["y"] is not fourth
    assert (own({"y": fourth})["y"] == 4).all()
    assert (second == 2).all()
    assert (third == 3).all()


def test_its_size_is_sealed():
    spec = segment(b"m", [tensor("x")], [tensor("y")])
    descriptor = make_arena(spec)
    try:
        for size in (0, 2 * arena_bytes(spec)):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("beside", [b"", b"\xff", b"\x80", b"\x81\xa1x\xc4\x02ab"])
def test_strings_that_cannot_be_read_are_refused(beside):
    spec = segment(b"m", [tensor("x", (1,), "BYTES")], [tensor("y")])
    arena, _ = arenas(spec)
    with pytest.raises(Failed, match="cannot be read"):
        arena.inputs(beside)


def test_what_is_kept_holds_on_to_no_message_that_is_much_larger():
    spec = tensor("x")
    lean, fat = (b"\0" * before + np.full(spec.shape, 2, np.float32).tobytes() for before in (16, 1 << 20))
    for message, copied in ((lean, False), (fat, True)):
        array = of_raw(memoryview(message)[-spec.bytes :], spec)
        kept = own({"x": array})["x"]
        assert (kept is not array) == copied
        assert (kept == 2).all()
