"""The memory of answers: the same for the same question, none for another one under its id, and bounded."""

from __future__ import annotations

import sys

import numpy as np

from runtimes.answered import Answered, digest
from runtimes.convert import of_raw
from tests.runtimes.plans import tensor


def x(value: float) -> dict[str, np.ndarray]:
    return {"x": np.full((1, 4), value, np.float32)}


def test_only_the_same_question_gets_the_answer():
    memory = Answered(4, 1000, 60.0)
    memory.put(1, "flow", "a", x(np.nan), x(2))
    np.testing.assert_array_equal(memory.get(1, "flow", "a", x(np.nan))["x"], x(2)["x"])
    for epoch, flow, request, inputs in (
        (2, "flow", "a", x(np.nan)),
        (1, "other", "a", x(np.nan)),
        (1, "flow", "b", x(np.nan)),
        (1, "flow", "a", x(1)),
    ):
        assert memory.get(epoch, flow, request, inputs) is None
    words = {"x": np.array([b"a", b"b"], object)}
    memory.put(1, "flow", "w", words, x(3))
    assert memory.get(1, "flow", "w", {"x": np.array([b"a", b"b"], object)}) is not None
    assert memory.get(1, "flow", "w", {"x": np.array([b"a", b"c"], object)}) is None


def test_it_is_bounded_in_number_bytes_and_time():
    memory = Answered(2, 70, 60.0)
    for name in "abc":
        memory.put(1, "flow", name, x(1), x(2))
    assert [memory.get(1, "flow", name, x(1)) is not None for name in "abc"] == [False, True, True]
    # The same one again takes its own room.
    memory.put(1, "flow", "c", x(1), x(2))
    assert memory.get(1, "flow", "b", x(1)) is not None
    memory.put(1, "flow", "large", {"x": np.zeros(100, np.float32)}, x(2))
    assert memory.get(1, "flow", "large", {"x": np.zeros(100, np.float32)}) is None
    assert memory.get(1, "flow", "b", x(1)) is not None
    forgetful = Answered(2, 70, -1.0)
    forgetful.put(1, "flow", "a", x(1), x(2))
    assert forgetful.get(1, "flow", "a", x(1)) is None


def test_what_is_remembered_is_a_question_and_not_its_whole_message():
    message = bytes(1 << 20)
    before = sys.getrefcount(message)
    memory = Answered(4, 1000, 60.0)
    memory.put(1, "flow", "a", {"x": of_raw(memoryview(message)[:16], tensor("x"))}, x(1))
    assert memory.get(1, "flow", "a", x(0)) is not None
    assert sys.getrefcount(message) == before


def test_a_digest_tells_inputs_apart():
    words = [np.array(items, object) for items in ([b"a", b"bc"], [b"ab", b"c"], [b"abc"])]
    inputs = [x(1), x(-1), {"z": x(1)["x"]}, {**x(1), "z": x(1)["x"]}, *({"x": w} for w in words)]
    assert len({digest(given) for given in inputs}) == len(inputs)
    assert digest(x(np.nan)) == digest(x(np.nan))
    assert digest({"a": words[0], **x(1)}) == digest({**x(1), "a": words[0]})
