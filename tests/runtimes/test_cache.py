"""A result is taken from memory for exactly the same inputs alone, within the bytes, and for one epoch."""

from __future__ import annotations

import threading
import tracemalloc
from collections import OrderedDict
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placer.deployment.deploy import deploy, next_epoch
from placer.deployment.run import run
from runtimes.assignment import Fallback
from runtimes.cache import Cache, kept_bytes
from runtimes.client import AgentClient
from runtimes.datatypes import DATATYPES
from runtimes.loaded_plans import LoadedPlans
from runtimes.local import LocalAgents
from runtimes.server import Agent, Options
from tests.runtimes.plans import Step, operator_model, plan, sample, tensor
from tests.runtimes.test_metrics import WATCHED, scrape, total, with_energy
from tests.runtimes.test_session import segment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtimes.convert import Array

ROOM = 1 << 20
NUMERIC = sorted({str(dtype) for dtype in DATATYPES.values() if dtype.kind != "O"})
SHAPES = [(), (0,), (1,), (6,), (2, 3), (3, 2), (0, 4), (1, 6)]
arrays = st.builds(
    lambda dtype, shape, contents: (
        np.resize(np.frombuffer(contents, np.uint8), np.prod(shape, dtype=int) * 8)
        .view(np.uint8)[: int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize]
        .view(dtype)
        .reshape(shape)
    ),
    st.sampled_from(NUMERIC),
    st.sampled_from(SHAPES),
    st.sampled_from([b"\0", b"\1", b"\0\0\0\0\0\0\xf8\x7f", b"\0\x80", b"\1\2\3"]),
)
inputs = st.dictionaries(st.sampled_from(["a", "b", "ab"]), arrays, min_size=1, max_size=2)


def identity(given: Mapping[str, Array]) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    return [(name, a.dtype.str, a.shape, a.tobytes()) for name, a in sorted(given.items())]


@settings(max_examples=200, deadline=None)
@given(inputs, inputs)
def test_inputs_are_the_same_if_names_types_shapes_and_bits_are(one, other):
    cache = Cache(ROOM)
    assert (cache.key(one) == cache.key(other)) == (identity(one) == identity(other))


def test_what_is_equal_but_not_the_same_bit_for_bit_is_not_the_same():
    cache = Cache(ROOM)
    zeros = [np.array([zero], np.float32) for zero in (0.0, -0.0)]
    assert zeros[0] == zeros[1]
    assert cache.key({"x": zeros[0]}) != cache.key({"x": zeros[1]})
    nan = np.array([np.nan], np.float32)
    assert cache.key({"x": nan}) == cache.key({"x": nan.copy()})
    # The end of one tensor is not the beginning of the next, and how it lies in memory is nothing of it.
    split = [{"a": np.arange(k, dtype=np.uint8), "b": np.arange(k, 9, dtype=np.uint8)} for k in (4, 5)]
    assert cache.key(split[0]) != cache.key(split[1])
    square = np.arange(9, dtype=np.int16).reshape(3, 3)
    assert cache.key({"x": square.T}) == cache.key({"x": square.T.copy()}) != cache.key({"x": square})


def test_digests_tell_nothing_to_who_has_not_the_key():
    assert Cache(ROOM).key(sample()) != Cache(ROOM).key(sample())


def test_what_is_kept_is_a_copy_that_nobody_changes():
    cache, made = Cache(ROOM), np.arange(4)
    cache.put(b"k", {"y": made})
    made[:] = 9
    found = cache.get(b"k")
    assert found["y"].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        found["y"][0] = 1
    found.clear()
    assert cache.get(b"k")["y"].tolist() == [0, 1, 2, 3]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 5000),
    st.lists(st.tuples(st.sampled_from("pg"), st.integers(0, 6), st.integers(0, 2000)), max_size=40),
)
def test_the_least_recently_used_go_first_and_never_more_is_held_than_allowed(capacity_bytes, steps):
    cache = Cache(capacity_bytes)
    kept: OrderedDict[bytes, int] = OrderedDict()
    for what, name, size in steps:
        key = bytes([name])
        if what == "g":
            found = cache.get(key)
            assert (None if found is None else found["y"].size) == kept.get(key)
            if found is not None:
                kept.move_to_end(key)
            continue
        cache.put(key, {"y": np.zeros(size, np.uint8)})
        if key not in kept and kept_bytes(1, size) <= capacity_bytes:
            kept[key] = size
            while sum(kept_bytes(1, s) for s in kept.values()) > capacity_bytes:
                kept.popitem(last=False)
        assert cache.held_bytes == sum(kept_bytes(1, s) for s in kept.values()) <= capacity_bytes
    cache.close()
    cache.put(b"k", {"y": np.zeros(0, np.uint8)})
    assert (cache.held_bytes, cache.get(b"k")) == (0, None)


def test_what_was_asked_for_last_stays_longest():
    cache = Cache(3 * kept_bytes(1, 8))
    for key in (b"a", b"b", b"c"):
        cache.put(key, {"y": np.zeros(1)})
    assert cache.get(b"a") is not None
    cache.put(b"d", {"y": np.zeros(1)})
    assert [cache.get(key) is not None for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    # A larger one takes the room of as many as it needs.
    cache.put(b"e", {"y": np.zeros(1 + kept_bytes(1, 8) // 8)})
    assert [cache.get(key) is not None for key in (b"a", b"c", b"d", b"e")] == [False, False, True, True]


@pytest.mark.parametrize(("tensors", "size"), [(1, 0), (1, 16), (5, 100), (2, 100_000)])
def test_results_take_no_more_memory_than_they_count(tensors, size):
    capacity_bytes = 200 * kept_bytes(tensors, tensors * size)
    outputs = {f"output {i}": np.zeros(size, np.uint8) for i in range(tensors)}
    cache = Cache(min(capacity_bytes, 2 << 20))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for i in range(400):
        cache.put(i.to_bytes(32, "little"), outputs)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < after - before <= cache.held_bytes <= min(capacity_bytes, 2 << 20)


def test_many_threads_find_nothing_but_what_belongs_to_their_inputs():
    cache = Cache(3 * kept_bytes(1, 8))
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for i in rng.integers(0, 6, 300):
            given = {"x": np.array([i])}
            key = cache.key(given)
            found = cache.get(key)
            if found is None:
                cache.put(key, {"y": given["x"] * 2})
            elif found["y"].tolist() != [i * 2]:
                wrong.append(int(i))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert 0 < cache.held_bytes <= 3 * kept_bytes(1, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cache_bytes": 0}, "cache_bytes is 0; it is from 1"),
        ({"cache_bytes": -5}, "cache_bytes is -5"),
        ({"cache_bytes": 2**63}, "cache_bytes is 9223372036854775808"),
        ({"cache_bytes": 9, "inputs": (tensor("x", dtype="BYTES"),)}, "tensor 'x' of BYTES, which is not kept"),
    ],
)
def test_a_segment_cannot_have_any_cache(change, message):
    spec = segment(operator_model("Neg", ("x",), ("y",)), [tensor("x")], [tensor("y")])
    with pytest.raises(ValueError, match=message):
        msgspec.structs.replace(spec, **change)


def steps(room_bytes: int | None) -> list[Step]:
    return [
        Step(name="flow/0", device="camera", op="Neg", inputs=("x",), outputs=("a",)),
        Step(name="flow/1", device="box", op="Sin", inputs=("a", ), outputs=("b",), cache_bytes=room_bytes),
        Step(name="flow/2", device="camera", op="Add", inputs=("a", "b"), outputs=("y",)),
    ]  # fmt: skip


def test_a_plan_and_its_fallbacks_share_what_is_the_same_result():
    """Or a device would need the bytes of each; under another epoch all of them are new."""

    class Loaded:
        def __init__(self, spec) -> None:
            self.spec = spec

    neg, sin = (
        Step(name="flow/0", device="camera", op=op, inputs=("x",), outputs=("y",), cache_bytes=ROOM)
        for op in ("Neg", "Sin")
    )
    shares = {
        name: plan([step], outputs=("y",), source="camera", sink="camera", epoch=3, name=name).assignments["camera"]
        for name, step in (("main", neg), ("dearer", neg), ("threads", neg), ("another", sin), ("late", sin))
    }
    changed = {"dearer": {"power_w": 9.0, "pad_to_s": 1.0}, "threads": {"threads": 2}, "late": {"threads": 3}}
    for name, changes in changed.items():
        (spec,) = shares[name].segments
        shares[name] = msgspec.structs.replace(shares[name], segments=(msgspec.structs.replace(spec, **changes),))
    main = msgspec.structs.replace(
        shares.pop("main"),
        fallbacks=tuple(
            Fallback(lost=(f"lost {name}",), assignment=share, warm=name != "late") for name, share in shares.items()
        ),
    )
    store = SimpleNamespace(read=lambda blob: b"")
    plans = LoadedPlans(store=store, open_segment=lambda spec, timeout_s: Loaded(spec), changed=lambda plans: None)
    plans.add(plans.open(main, 1.0))
    caches = {name: plans.find(name, 3).caches["flow/0"] for name in shares if name != "late"}
    own = plans.of(3).caches["flow/0"]
    assert caches["dearer"] is own
    assert len({id(cache) for cache in (own, caches["threads"], caches["another"])}) == 3
    later = plans.renewed(plans.of(3), 4)
    assert [loaded.caches["flow/0"] is own for loaded in later] == [False] * 4
    assert later[0].caches["flow/0"] is later[1].caches["flow/0"]
    key = own.key(sample())
    own.put(key, {"y": sample()["x"]})
    assert own.get(key) is not None
    plans.forget_results(3)
    assert own.get(key) is None
    late = plans.find("late", 3).caches["flow/0"]
    late.put(late.key(sample()), {"y": sample()["x"]})
    assert late.held_bytes == 0


def test_after_a_restart_the_plan_before_keeps_nothing_either(tmp_path):
    options = Options(
        device="camera", listen="127.0.0.1:0", store=tmp_path, threads=1, max_message_bytes=1 << 20, limits=None
    )
    step = Step(name="flow/0", device="camera", op="Sin", inputs=("x",), outputs=("y",), cache_bytes=ROOM)
    agent = Agent(options)
    for epoch in (1, 2):
        made = plan([step], outputs=("y",), source="camera", sink="camera", epoch=epoch, name=f"plan {epoch}")
        deploy(made, {"camera": agent.address})
    agent.stop(1)
    agent = Agent(options)
    try:
        with AgentClient(agent.address) as client:
            for epoch in (1, 2, 1, 2):
                client.infer("flow", sample(), epoch=epoch)
            assert [(o.epoch, o.kind) for o in client.observations()] == [
                (1, "segment"), (2, "segment"), (1, "segment"), (2, "hit")
            ]  # fmt: skip
    finally:
        agent.stop(1)


def of_segment(measured, kind: str, name: str = "flow/1") -> list[int]:
    """Number the requests for which something was observed of a segment."""
    order = [p.request_id for p in measured.passages]
    return [order.index(o.request) for o in measured.observations if (o.kind, o.segment) == (kind, name)]


def serve(addresses, room_bytes: int | None, feeds) -> object:
    deployment = plan(
        steps(room_bytes), outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses)
    )  # fmt: skip
    deploy(deployment, addresses)
    return run(deployment, addresses, "flow", feeds, deadline_s=10)


def test_agents_answer_the_same_from_a_cache_and_execute_once(addresses):
    feeds = [sample(seed) for seed in (0, 1, 0, 0, 1, 2)]
    plain, cached = serve(addresses, None, feeds), serve(addresses, ROOM, feeds)
    for one, other in zip(plain.passages, cached.passages, strict=True):
        assert one.outputs["y"].tobytes() == other.outputs["y"].tobytes()
    assert (of_segment(plain, "hit"), of_segment(plain, "segment")) == ([], [0, 1, 2, 3, 4, 5])
    assert (of_segment(cached, "hit"), of_segment(cached, "segment")) == ([2, 3, 4], [0, 1, 5])
    # Others of the flow are executed each time.
    assert of_segment(cached, "segment", "flow/2") == [0, 1, 2, 3, 4, 5]


def test_an_agent_keeps_the_results_that_its_bytes_hold(addresses):
    # Of three in turn, with room for two, each is gone when it comes again; of two none is.
    room_bytes = 2 * kept_bytes(1, sample()["x"].nbytes)
    assert of_segment(serve(addresses, room_bytes, [sample(s) for s in (0, 1, 2, 0, 1, 2)]), "hit") == []
    assert of_segment(serve(addresses, room_bytes, [sample(s) for s in (0, 1, 0, 1, 2, 1)]), "hit") == [2, 3, 5]
    assert of_segment(serve(addresses, room_bytes // 2 - 1, [sample(0)] * 3), "hit") == []


def test_what_one_plan_made_the_next_one_makes_anew_and_so_does_the_first_after_a_rollback():
    options = ["--no-isolation", *WATCHED]
    one = [Step(name="flow/0", device="camera", op="Sin", inputs=("x",), outputs=("y",), cache_bytes=ROOM)]
    with LocalAgents(["camera"], options=options) as agents, AgentClient(agents.addresses["camera"]) as client:

        def deployed() -> int:
            epoch = next_epoch(agents.addresses)
            made = plan(one, outputs=("y",), source="camera", sink="camera", epoch=epoch, name=f"plan {epoch}")
            deploy(with_energy(made), agents.addresses)
            return epoch

        def hits(epoch: int | None = None) -> list[bool]:
            since = client.status().last_sequence
            for seed in (0, 0):
                client.infer("flow", sample(seed), epoch=epoch)
            return [o.kind == "hit" for o in client.observations(since)]

        first = deployed()
        assert hits() == [False, True]
        assert hits() == [True, True]
        second = deployed()
        assert hits() == [False, True]
        # Requests still follow the one before, which keeps nothing any more.
        assert hits(first) == [False, False]
        client.rollback(second + 1)
        assert hits() == [False, True]
        assert client.status().active.plan == f"plan {first}"

        # A segment that is asked for by itself is always executed: whoever measures it wants its time.
        since = client.status().last_sequence
        for _ in range(2):
            client.infer("flow/0", sample(0))
        assert [o.kind for o in client.observations(since)] == ["segment", "segment"]

        page = scrape(agents, "camera")
        # Seven executions, two of which were asked for by themselves; at 2 W all that it took.
        assert page["placer_misses_total{flow=flow,segment=flow/0}"] == 5
        assert page["placer_segment_seconds_count{flow=flow,segment=flow/0}"] == 7
        assert page["placer_hit_seconds_count{flow=flow,segment=flow/0}"] == 5
        for what in ("segment", "hit"):
            assert total([page], f"placer_{what}_joules_total") == pytest.approx(
                2 * total([page], f"placer_{what}_seconds_sum")
            )
        # Of requests of the flow, hits are counted too.
        spent_j = total([page], "placer_flow_joules_total")
        assert total([page], "placer_hit_joules_total") < spent_j
        assert spent_j <= total([page], "placer_hit_joules_total", "placer_segment_joules_total")
