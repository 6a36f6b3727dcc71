"""The sink's store: what was acknowledged stays until it is fetched or its time is over."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from runtimes.errors import BadRequest, Exhausted, UnknownName
from runtimes.results import ResultStore
from tests.runtimes.plans import BRANCHING, plan

FLOW = plan(BRANCHING, outputs=("y",), source="camera", sink="box", epoch=1).assignments["box"].flows[0]
Y = {"y": np.ones((1, 4), np.float32)}
Z = {"y": np.zeros((1, 4), np.float32)}
SAME, OTHER = (1, "same"), (1, "other")


def test_a_result_stays_until_there_is_need_of_its_room():
    store = ResultStore(2, 1000, 60.0)
    store.put("a", FLOW, Y, asked=SAME)
    assert store.get("a") == (FLOW, Y)
    assert store.get("a") == (FLOW, Y)
    store.put("b", FLOW, Y, asked=SAME)
    store.put("c", FLOW, Y, asked=SAME)
    with pytest.raises(UnknownName, match="'a'"):
        store.get("a")
    with pytest.raises(Exhausted, match="2 results wait"):
        store.put("d", FLOW, Y, asked=SAME)
    assert store.get("b")
    store.put("d", FLOW, Y, asked=SAME)
    assert store.get("c")
    assert store.get("d")


def test_bytes_are_bounded_too():
    store = ResultStore(100, 40, 60.0)
    store.put("a", FLOW, Y, asked=SAME)
    store.put("b", FLOW, Y, asked=SAME)
    with pytest.raises(Exhausted):
        store.put("c", FLOW, Y, asked=SAME)
    # One that was fetched gives its room to a later result of its id, but not where that does not fit either.
    store.get("a")
    with pytest.raises(Exhausted, match="1 results wait"):
        store.put("a", FLOW, {"y": np.ones((1, 7), np.float32)}, asked=OTHER)
    assert store.get("a") == (FLOW, Y)
    store.put("a", FLOW, Y, asked=OTHER)


def test_the_first_unfetched_result_of_an_id_stays():
    store = ResultStore(100, 1000, 60.0)
    store.put("a", FLOW, Y, asked=SAME)
    # Asked again: on another way its last bits may differ, and the acknowledged one stays.
    store.put("a", FLOW, Z, asked=SAME)
    for other in (OTHER, (2, SAME[1])):
        with pytest.raises(BadRequest, match="'a' of flow 'flow'"):
            store.put("a", FLOW, Z, asked=other)
    assert store.get("a") == (FLOW, Y)
    # Acknowledged anew, it waits anew.
    store.put("a", FLOW, Z, asked=SAME)
    with pytest.raises(BadRequest):
        store.put("a", FLOW, Z, asked=OTHER)
    assert store.get("a") == (FLOW, Y)
    store.put("a", FLOW, Z, asked=OTHER)
    assert store.get("a") == (FLOW, Z)


def test_flows_have_ids_of_their_own():
    store = ResultStore(100, 1000, 60.0)
    other = msgspec.structs.replace(FLOW, name="other")
    store.put("a", FLOW, Y, asked=SAME)
    store.put("a", other, Z, asked=SAME)
    store.put("b", other, Z, asked=SAME)
    assert (store.get("a", "flow"), store.get("a", "other")) == ((FLOW, Y), (other, Z))
    assert store.get("b") == (other, Z)
    with pytest.raises(BadRequest, match=r"\['flow', 'other'\]"):
        store.get("a")
    with pytest.raises(UnknownName, match="'b' of flow 'flow'"):
        store.get("b", "flow")


def test_results_do_not_stay_for_ever():
    store = ResultStore(1, 1000, 0.0)
    store.put("a", FLOW, Y, asked=SAME)
    store.put("b", FLOW, Y, asked=SAME)
    with pytest.raises(UnknownName):
        store.get("a")
