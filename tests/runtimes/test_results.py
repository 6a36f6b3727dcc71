"""The sink's store: what was acknowledged stays until it is fetched or its time is over."""

from __future__ import annotations

import numpy as np
import pytest

from runtimes.errors import Exhausted, UnknownName
from runtimes.results import ResultStore
from tests.runtimes.plans import BRANCHING, plan

FLOW = plan(BRANCHING, outputs=("y",), source="camera", sink="box", epoch=1).assignments["box"].flows[0]
Y = {"y": np.ones((1, 4), np.float32)}


def test_a_result_stays_until_there_is_need_of_its_room():
    store = ResultStore(2, 1000, 60.0)
    store.put("a", FLOW, Y)
    assert store.get("a") == (FLOW, Y)
    assert store.get("a") == (FLOW, Y)
    store.put("b", FLOW, Y)
    store.put("c", FLOW, Y)
    with pytest.raises(UnknownName, match="'a'"):
        store.get("a")
    with pytest.raises(Exhausted, match="2 results wait"):
        store.put("d", FLOW, Y)
    assert store.get("b")
    store.put("d", FLOW, Y)
    assert store.get("c")
    assert store.get("d")


def test_bytes_are_bounded_too():
    store = ResultStore(100, 40, 60.0)
    store.put("a", FLOW, Y)
    store.put("b", FLOW, Y)
    with pytest.raises(Exhausted):
        store.put("c", FLOW, Y)
    # A later result of the same request takes the room of the earlier one.
    store.put("a", FLOW, Y)


def test_results_do_not_stay_for_ever():
    store = ResultStore(1, 1000, 0.0)
    store.put("a", FLOW, Y)
    store.put("b", FLOW, Y)
    with pytest.raises(UnknownName):
        store.get("a")
