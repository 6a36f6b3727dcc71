"""Cases whose answer is known before anything is computed; docs/energy-model.md shows the same arithmetic."""

from pathlib import Path

import pytest

from placer.errors import Infeasible
from placer.problem import Device as ProblemDevice
from placer.problem import Flow, Op, Option, Problem, Tensor
from placer.problem import Link as ProblemLink
from placer.solver.solve import solve
from profiles import (
    Catalog,
    Device,
    Figure,
    Link,
    TransferCost,
    airtime_s,
    compute_j,
    idle_w,
    segment_j,
    transfer_cost,
    wait_w,
)

CATALOG = Catalog.load()
DOCUMENT = (Path(__file__).parents[2] / "docs" / "energy-model.md").read_text(encoding="utf-8")
PUE = 1.56
"""Mean of a world-wide survey of data centres, 2024: `uptime_2024` of the catalog."""

RESNET50_MACS = 4.1e9
FRAME_BYTES = 150_528


def _device(profile: str, *, pue: float = 1.0) -> Device:
    found = CATALOG.device(profile)
    assert found.idle_w is not None
    return Device(
        name=profile,
        profile=found,
        zone="z",
        tier=found.tier,
        boundary=found.boundary,
        idle_w=found.idle_w,
        wait_w=found.wait_w,
        memory_bytes=None,
        always_on=True,
        pue=pue,
        modes=found.modes,
    )


def _link(profile: str, latency_s: float) -> Link:
    found = CATALOG.link(profile)
    assert found.bandwidth_up_bps is not None
    return Link(
        source="a",
        target="b",
        profile=found,
        bandwidth_bps=found.bandwidth_up_bps.value,
        latency_s=latency_s,
        max_utilization=1.0 if found.duty_cycle is None else found.duty_cycle.value,
    )


PI = _device("rpi4b_tflite")
SERVER = _device("server_a2x1", pue=PUE)


def _shows(text: str) -> None:
    assert text in " ".join(DOCUMENT.split()), f"docs/energy-model.md does not show {text!r}"


def test_the_pue_is_the_catalogs() -> None:
    assert {f.id: f.pue.value for f in CATALOG.grid.facilities}["uptime_2024"] == PUE


def test_a_small_packet_over_lte_costs_mostly_tail() -> None:
    cost = transfer_cost(_link("lte_phone_2012", 0.05), PI, SERVER)
    packet_j = 1000 * cost.energy_j_per_byte
    total_j = packet_j + cost.energy_j_per_transfer + cost.tail_j
    assert cost.tail_j == pytest.approx(1.06 * 11.576)
    assert cost.tail_j / total_j > 0.95
    assert packet_j / total_j < 0.001
    _shows(f"{cost.tail_j:.2f} J of tail, {cost.energy_j_per_transfer:.3f} J")
    _shows(f"{1000 * packet_j:.1f} mJ for the 1000 bytes: {100 * cost.tail_j / total_j:.1f} % tail")
    # Only from megabytes on do the bytes cost as much as the tail.
    _shows(f"{cost.tail_j / cost.energy_j_per_byte / 1e6:.2f} MB")
    assert cost.tail_j / cost.energy_j_per_byte > 2e6


def _sending(cost: TransferCost, rate_hz: float, size_bytes: float, max_utilization: float) -> Problem:
    """A sensor sends so many bytes to a gateway at a rate."""
    io = (Option(device="sensor", mode="io", seconds=0.0, joules=0.0),)
    out = (Option(device="gateway", mode="io", seconds=0.0, joules=0.0),)
    return Problem(
        devices=(ProblemDevice(name="sensor"), ProblemDevice(name="gateway")),
        links=(
            ProblemLink(
                source="sensor",
                target="gateway",
                latency_s=0.0,
                bytes_per_s=cost.bytes_per_s,
                energy_j_per_byte=cost.energy_j_per_byte,
                max_utilization=max_utilization,
            ),
        ),
        flows=(
            Flow(
                name="report",
                rate_hz=rate_hz,
                ops=(Op(name="in", options=io), Op(name="out", options=out)),
                tensors=(Tensor(name="t", bytes=size_bytes, producer="in", consumers=("out",)),),
            ),
        ),
    )


def test_lora_at_sf12_breaks_its_duty_cycle_once_a_minute() -> None:
    air_s = airtime_s(12, 51 + 13)
    cycle = CATALOG.link("lorawan_eu868_sf12").duty_cycle
    assert cycle is not None
    assert air_s / 60 > 4 * cycle.value
    _shows(f"{air_s:.3f} s on the air")
    _shows(f"{100 * air_s / 60:.1f} % of each minute")
    _shows(f"every {air_s / cycle.value:.0f} s")
    cost = transfer_cost(_link("lorawan_eu868_sf12", 0.0), _device("stm32u575zi"), PI)
    assert 51 / cost.bytes_per_s == pytest.approx(air_s, rel=1e-3)
    with pytest.raises(Infeasible, match="max_utilization"):
        solve(_sending(cost, 1 / 60, 51, cycle.value))
    assert solve(_sending(cost, 1 / 300, 51, cycle.value)).status == "optimal"
    # At SF7 the same 51 bytes may go every 12 s.
    assert airtime_s(7, 51 + 13) / cycle.value < 15


def _site(*, server_always_on: bool) -> Problem:
    """ResNet-50 in int8 once a second: on the Raspberry Pi where the frame arises, or on a node behind a wire."""
    wire = transfer_cost(_link("ethernet_1g", 0.005), PI, SERVER)
    pi_s, server_s = (device.modes[-1].s_per_mac.value * RESNET50_MACS for device in (PI, SERVER))
    here, there = PI.modes[-1], SERVER.modes[-1]
    pi_io = (Option(device="pi", mode="io", seconds=0.0, joules=0.0),)

    def link(source: str, target: str) -> ProblemLink:
        return ProblemLink(
            source=source,
            target=target,
            latency_s=wire.latency_s,
            bytes_per_s=wire.bytes_per_s,
            energy_j_per_byte=wire.energy_j_per_byte,
            sender_fraction=0.0,
        )

    return Problem(
        devices=(
            ProblemDevice(
                name="pi",
                idle_w=idle_w(PI),
                segment_s=here.segment_s.value,
                segment_j=segment_j(PI, here),
                wait_w=wait_w(PI),
            ),
            ProblemDevice(
                name="server",
                idle_w=idle_w(SERVER),
                always_on=server_always_on,
                segment_s=there.segment_s.value,
                segment_j=segment_j(SERVER, there),
            ),
        ),
        links=(link("pi", "server"), link("server", "pi")),
        flows=(
            Flow(
                name="classify",
                rate_hz=1.0,
                ops=(
                    Op(name="in", options=pi_io),
                    Op(
                        name="net",
                        options=(
                            Option(device="pi", mode=here.name, seconds=pi_s, joules=compute_j(PI, here, pi_s)),
                            Option(
                                device="server",
                                mode=there.name,
                                seconds=server_s,
                                joules=compute_j(SERVER, there, server_s),
                            ),
                        ),
                    ),
                    Op(name="out", options=pi_io),
                ),
                tensors=(
                    Tensor(name="frame", bytes=FRAME_BYTES, producer="in", consumers=("net",)),
                    Tensor(name="scores", bytes=4000, producer="net", consumers=("out",)),
                ),
            ),
        ),
    )


def test_a_raspberry_pi_beats_a_node_charged_whole_and_loses_to_one_that_is_shared() -> None:
    whole = solve(_site(server_always_on=False))
    shared = solve(_site(server_always_on=True))
    assert whole.flows[0].assignment["net"][0] == "pi"
    assert shared.flows[0].assignment["net"][0] == "server"
    # The shared node wins in the attributional view too, where it pays for the time it works for this flow.
    assert shared.ledger.attributional_w < whole.ledger.attributional_w
    pi_w, server_w, node_w = whole.ledger.marginal_w, shared.ledger.marginal_w, idle_w(SERVER)
    assert pi_w < 0.01 * (server_w + node_w)
    _shows(f"{pi_w:.2f} J on the Raspberry Pi")
    _shows(f"{server_w:.3f} J on the node")
    _shows(f"{server_w + node_w:.0f} J if it is charged whole")
    _shows(f"{shared.ledger.attributional_w:.2f} J against {whole.ledger.attributional_w:.2f} J")
    # It pays from so many equal users on.
    _shows(f"{node_w / (pi_w - server_w):.0f} such flows")


def test_batching_at_a_low_rate_does_not_pay() -> None:
    mode = PI.modes[-1]
    start_j, waiting_w = segment_j(PI, mode), wait_w(PI)
    one_j = start_j + compute_j(PI, mode, mode.s_per_mac.value * RESNET50_MACS)
    size, rate_hz = 8, 1.0
    saved_j = (size - 1) * start_j
    waited_j = waiting_w * (size - 1) / rate_hz
    assert waited_j > 50 * saved_j
    _shows(f"{1000 * saved_j:.0f} mJ saved, {waited_j:.2f} J spent on waiting")
    # Whatever the size, it pays only above this rate, which is more than the device can serve at all.
    break_even_hz = waiting_w / start_j
    capacity_hz = 1 / (mode.segment_s.value + mode.s_per_mac.value * RESNET50_MACS)
    assert break_even_hz > 20 * capacity_hz
    _shows(f"{break_even_hz:.0f} Hz")
    _shows(f"{capacity_hz:.1f} Hz")
    # A device that sleeps while it waits gains at most its starting cost.
    assert start_j / one_j < 0.01
    _shows(f"{100 * start_j / one_j:.1f} % of an inference")
    # A node that is on for nobody else pays its idle power either way.
    node = SERVER.modes[-1]
    assert segment_j(SERVER, node) / (idle_w(SERVER) / rate_hz) < 0.001


def test_figures_are_the_catalogs() -> None:
    for figure in (PI.idle_w, PI.wait_w, SERVER.idle_w, PI.modes[-1].active_w):
        assert isinstance(figure, Figure)
        assert figure.source
