"""From a site and its models to a problem: what becomes of figures, names, rules and boundaries."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from placer import rules
from placer.build import Built, build
from placer.costs import Cost, CostTable
from placer.ends import SINK, SOURCE
from placer.errors import ProblemError
from placer.models.graph import ModelGraph, Op, Tensor
from placer.models.join_stages import join_stages
from placer.privacy import apply_rules, spread_labels
from profiles import Declassify, Figure, Flow, Labels, Link, LinkProfile, RegionRule, Site, Stage, Zone
from tests.profiles.build import device, figure, mode
from tests.properties.random_site import random_costs, random_graph, random_site

if TYPE_CHECKING:
    from placer.problem import Device


def graph() -> ModelGraph:
    """x -> blur -> t -> head -> y, and a skip connection from x to head."""
    tensors = {n: Tensor.dense(n, (size,), "float32") for n, size in (("x", 100), ("t", 10), ("y", 1))}
    ops = (
        Op(
            name="blur",
            type="A",
            macs=5,
            weights_bytes=8,
            weights_id="w",
            inputs=("x",),
            outputs=("t",),
            workspace_bytes=440,
        ),
        Op(
            name="head",
            type="B",
            macs=5,
            weights_bytes=0,
            weights_id="",
            inputs=("t", "x"),
            outputs=("y",),
            workspace_bytes=44,
        ),
    )
    return ModelGraph(
        name="m",
        format="onnx",
        path="m.onnx",
        sha256="0",
        numeric="fp32",
        inputs=(tensors["x"],),
        outputs=(tensors["y"],),
        ops=ops,
        tensors=tensors,
    )


def site(stage: dict[str, Any] | None = None, **changes: Any) -> Site:
    profile = LinkProfile(
        id="l", name="l", ends="both", rate="payload", tx_j_per_byte=figure(2e-6), rx_j_per_byte=figure(1e-6)
    )
    fields: dict[str, Any] = {
        "name": "plant",
        "labels": Labels(names=("public", "personal")),
        "zones": (Zone(name="floor", sees="personal", region="eu"), Zone(name="cloud", sees="public", region="us")),
        "devices": (
            device(name="camera", wait_w=figure(0.5), modes=(mode("slow", 3.0), mode("fast", 5.0))),
            device(
                name="server",
                zone="cloud",
                idle_w=50.0,
                always_on=False,
                pue=1.2,
                memory_bytes=1000,
                modes=(mode(active_w=90.0),),
            ),
        ),
        "links": tuple(
            Link(source=a, target=b, profile=profile, direction="up", bandwidth_bps=8e6, latency_s=0.001)
            for a, b in (("camera", "server"), ("server", "camera"))
        ),
        "flows": (
            Flow(
                name="watch",
                source="camera",
                sink="camera",
                rate_hz=2.0,
                deadline_s=0.5,
                label="personal",
                stages=(Stage(name="net", model="m.onnx", **(stage or {})),),
            ),
        ),
        "region_rules": (),
        "directory": Path(),
        "file": "p.yaml",
    }
    return Site(**{**fields, **changes})


def costs(modes: tuple[str, ...] = ("slow",)) -> CostTable:
    def cost(joules: float) -> Cost:
        return Cost(seconds=0.01, joules=joules, origin="fitted", source="s", relative_uncertainty=None)

    rows = {(op, "camera", m): cost(0.1) for op in ("blur", "head") for m in modes}
    return CostTable(rows=rows | {(op, "server", "cpu-fp32"): cost(0.2) for op in ("blur", "head")})


def built(*, modes: tuple[str, ...] = ("slow",), **how: Any) -> Built:
    where = site(**how)
    return build(where, {"watch": join_stages(where.flows[0], {"net": graph()})}, {"watch": {"net": costs(modes)}})


def test_ops_and_tensors_bear_the_stage_s_name_and_the_ends_do_not() -> None:
    (flow,) = built().problem.flows
    assert [op.name for op in flow.ops] == [SOURCE, "net/blur", "net/head", SINK]
    assert {t.name: (t.producer, t.consumers) for t in flow.tensors} == {
        "net/x": (SOURCE, ("net/blur", "net/head")),
        "net/t": ("net/blur", ("net/head",)),
        "net/y": ("net/head", (SINK,)),
    }
    assert (flow.rate_hz, flow.deadline_s) == (2.0, 0.5)
    assert flow.ops[1].weights_id == "w"
    assert flow.ops[2].weights_id is None
    assert {(o.device, o.mode) for o in flow.ops[1].options} == {("camera", "slow"), ("server", "cpu-fp32")}


def test_devices_keep_their_figures() -> None:
    camera, server = built().problem.devices
    assert (camera.idle_w, camera.always_on, camera.wait_w) == (2.0, True, 0.5)
    # Idle power of a facility's device has its overhead inside.
    assert server.idle_w == pytest.approx(50.0 * 1.2)
    assert (server.always_on, server.memory_bytes) == (False, 1000)
    assert built().pue == {"server": 1.2}
    # What a segment costs to start is its mode's: 1 ms at 1 W, or at 3 W, above idle.
    assert camera.segment_j == pytest.approx(0.001 * 1.0)
    assert camera.starts == ()
    both = built(modes=("slow", "fast")).problem.devices[0]
    assert both.start("slow") == pytest.approx((0.001, 0.001 * 1.0))
    assert both.start("fast") == pytest.approx((0.001, 0.001 * 3.0))


def test_a_flow_in_another_mode_makes_no_start_dearer() -> None:
    one, other = (msgspec.structs.replace(site().flows[0], name=name) for name in ("one", "other"))
    tables = {"one": {"net": costs(("slow",))}, "other": {"net": costs(("fast",))}}

    def camera(*flows: Flow) -> Device:
        graphs = {flow.name: join_stages(flow, {"net": graph()}) for flow in flows}
        return build(site(flows=flows), graphs, {f.name: tables[f.name] for f in flows}).problem.devices[0]

    assert camera(one).start("slow") == camera(one, other).start("slow") != camera(one, other).start("fast")
    assert camera(other).start("fast") == camera(one, other).start("fast")


def test_an_accelerator_starts_at_the_power_of_the_whole_model_s_rate() -> None:
    def busy(rate: float) -> Built:
        camera, *others = site().devices
        modes = tuple(
            msgspec.structs.replace(m, mac_per_s=figure(rate), power_exponent=figure(0.5)) for m in camera.modes
        )
        return built(devices=(msgspec.structs.replace(camera, modes=modes), *others))

    # 10 MACs in 1 ms of start and two ops of 10 ms.
    rate = 10 / 0.021
    assert busy(rate).problem.devices[0].segment_j == pytest.approx(0.001 * 1.0)
    assert busy(rate / 4).problem.devices[0].segment_j == pytest.approx(0.001 * (2 * 3.0 - 2.0))


def test_only_who_needs_the_result_waits() -> None:
    away = Flow(
        name="watch",
        source="camera",
        sink="server",
        rate_hz=1.0,
        label="public",
        stages=(Stage(name="net", model="m"),),
    )
    assert built(flows=(away,)).problem.devices[0].wait_w == 0.0


def test_links_and_origins() -> None:
    made = built()
    link = made.problem.links[0]
    assert link.bytes_per_s == pytest.approx(1e6)
    sent, received = (link.energy_j_per_byte * f for f in (link.sender_fraction, link.receiver_fraction))
    assert sent == pytest.approx(2e-6)
    assert received == pytest.approx(1e-6 * 1.2)  # The receiver stands in a facility.
    assert made.origins["compute", "camera"] == "fitted"
    assert made.origins["wait", "camera"] == "declared"
    assert made.origins["transfer", "camera->server"] == "declared"


@pytest.mark.parametrize("weak", ["segment_s", "active_w", "idle_w", "mac_per_s", "power_exponent", None])
def test_the_start_of_a_segment_has_the_weakest_origin_of_its_seconds_and_watts(weak: str | None) -> None:
    def known(figure: Figure, name: str) -> Figure:
        return msgspec.structs.replace(figure, origin="spec" if name == weak else "measured")

    camera, *others = site().devices
    names = ("segment_s", "active_w", "mac_per_s", "power_exponent")
    modes = tuple(
        msgspec.structs.replace(m, **{name: known(getattr(m, name) or figure(1.0), name) for name in names})
        for m in camera.modes
    )
    camera = msgspec.structs.replace(camera, idle_w=known(camera.idle_w, "idle_w"), modes=modes)
    assert built(devices=(camera, *others)).origins["segment", "camera"] == ("measured" if weak is None else "spec")


def test_a_declassified_tensor_may_go_and_what_goes_around_it_may_not() -> None:
    lower = {"declassify": (Declassify(name="features", tensor="t", to="public"),)}
    by_name = {t.name: t.not_on for t in built(stage=lower).problem.flows[0].tensors}
    assert by_name["net/t"] == ()
    assert by_name["net/x"] == ("server",)
    # head reads x too, so what it makes is as sensitive as x.
    assert by_name["net/y"] == ("server",)
    everything = {t.name: t.not_on for t in built().problem.flows[0].tensors}
    assert set(everything.values()) == {("server",)}


def test_refusals_speak_the_site_s_words() -> None:
    words = built().meanings[rules.kept_off("watch", "server")]
    assert "privacy of flow 'watch' on 'server'" in words
    assert "zone 'cloud' sees at most 'public', not 'personal'" in words
    eu = (RegionRule(name="GDPR", label="personal", regions=("eu",)),)
    trusted = (Zone(name="floor", sees="personal", region="eu"), Zone(name="cloud", sees="personal", region="us"))
    words = built(zones=trusted, region_rules=eu).meanings[rules.kept_off("watch", "server")]
    assert "rule 'GDPR' keeps 'personal' in eu, not us" in words


def test_weights_that_must_not_leave_take_options_away() -> None:
    made = built(stage={"weights_label": "personal"})
    blur, head = made.problem.flows[0].ops[1:3]
    assert {o.device for o in blur.options} == {"camera"}
    assert {o.device for o in head.options} == {"camera", "server"}


@pytest.mark.parametrize(("weights_label", "barred"), [("personal", ("server",)), ("public", ()), (None, ())])
def test_what_is_made_of_weights_alone_is_as_sensitive_as_they_are(
    weights_label: str | None, barred: tuple[str, ...]
) -> None:
    whole, where = graph(), site(stage={"weights_label": weights_label})
    blur, head = whole.ops
    alone = replace(whole, ops=(replace(blur, inputs=()), head))
    (flow,) = where.flows
    assert apply_rules(where, flow, join_stages(flow, {"net": alone})).barred["net/t"] == barred


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            Declassify(name="r", tensor="tt", to="public"),
            r"^p.yaml: flows\[0\].stages\[0\].declassify\[0\].tensor: m.onnx has no tensor 'tt'.*'t'",
        ),
        (Declassify(name="r", tensor="t", to="personal"), None),
    ],
)
def test_declassifications_name_a_tensor_and_only_lower(rule: Declassify, message: str | None) -> None:
    if message is None:
        # Equal is no raise.
        assert built(stage={"declassify": (rule,)})
        public = Flow(
            name="watch",
            source="camera",
            sink="camera",
            rate_hz=1.0,
            label="public",
            stages=(Stage(name="net", model="m", declassify=(rule,)),),
        )
        with pytest.raises(
            ProblemError, match=r"^p.yaml: flows\[0\].stages\[0\].declassify\[0\].to: 'r' gives .* can only lower"
        ):
            built(flows=(public,))
    else:
        with pytest.raises(ProblemError, match=message):
            built(stage={"declassify": (rule,)})


def test_joules_of_different_boundaries_are_not_added() -> None:
    whole = site()
    mixed = (whole.devices[0], device(name="server", boundary="chip"))
    listed = r"\(devices\[0\].boundary: wall of 'camera', devices\[1\].boundary: chip of 'server'\)"
    with pytest.raises(ProblemError, match=rf"different boundaries {listed}"):
        built(devices=mixed)


def test_a_missing_waiting_power_is_an_error_and_not_zero() -> None:
    whole = site()
    with pytest.raises(ProblemError, match=r"^p.yaml: devices\[0\].wait_w: .*'camera' has no wait_w"):
        built(devices=(device(name="camera"), whole.devices[1]))


def test_an_input_that_nobody_reads_is_held_all_the_same() -> None:
    whole = graph()
    extra = Tensor.dense("z", (4,), "float32")
    more = ModelGraph(
        name="m",
        format="onnx",
        path="m.onnx",
        sha256="0",
        numeric="fp32",
        inputs=(*whole.inputs, extra),
        outputs=whole.outputs,
        ops=whole.ops,
        tensors={**whole.tensors, "z": extra},
    )
    joined = join_stages(site().flows[0], {"net": more})
    (flow,) = build(site(), {"watch": joined}, {"watch": {"net": costs()}}).problem.flows
    (held,) = (t for t in flow.tensors if t.name == "net/z")
    assert (held.producer, held.consumers, held.not_on) == (SOURCE, (), ("server",))


@pytest.mark.parametrize("seed", range(30))
def test_labels_only_fall_where_a_rule_says_so(seed: int) -> None:
    rng = random.Random(seed)
    model = random_graph(rng, 6)
    where = random_site(rng, model)
    (flow,) = where.flows
    joined = join_stages(flow, {"stage": model})
    try:
        labels = spread_labels(where, flow, joined)
    except ProblemError:
        return
    lowered = {rule.tensor for rule in flow.stages[0].declassify}
    rank = where.labels.rank
    for op in model.ops:
        for name in op.outputs:
            for read in op.inputs:
                assert name in lowered or rank(labels[f"stage/{name}"]) >= rank(labels[f"stage/{read}"])
    made = build(where, {"flow": joined}, {"flow": {"stage": random_costs(rng, model, where)}})
    assert set(made.privacy["flow"].labels) == {f"stage/{name}" for name in model.tensors}


def test_a_radio_rests_between_requests_of_its_own_device_s_flows() -> None:
    where = site()
    (watch,) = where.flows
    two = msgspec.structs.replace(where.devices[0], name="second")
    radio = LinkProfile(
        id="r",
        name="r",
        ends="client",
        rate="payload",
        tx_j_per_byte=figure(1e-6),
        tail_s=figure(10.0),
        tail_w=figure(1.0),
    )
    links = tuple(
        Link(source=a, target=b, profile=radio, direction="up", bandwidth_bps=8e6, latency_s=0.001)
        for a, b in (("camera", "server"), ("second", "server"), ("server", "camera"), ("server", "second"))
    )
    flows = tuple(
        msgspec.structs.replace(watch, name=f"watch {name}", source=name, sink=name, rate_hz=rate, label="public")
        for name, rate in (("camera", 0.25), ("second", 1.0))
    )
    busy = site(devices=(*where.devices, two), links=links, flows=flows)
    graphs = {f.name: join_stages(f, {"net": graph()}) for f in flows}
    made = build(busy, graphs, {f.name: {"net": costs()} for f in flows})
    tails = {(k.source, k.target): k.tail_j for k in made.problem.links}
    # A tail at 1 W lasts until the next request of that device: 4 s, 1 s; the site's five in four seconds do not count.
    assert tails["camera", "server"] == pytest.approx(4.0)
    assert tails["second", "server"] == pytest.approx(1.0)
