import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import (
    LinkProfile,
    ProfileError,
    airtime_s,
    at_rate,
    compute_j,
    facility_j,
    idle_w,
    segment_j,
    tail_j,
    transfer_cost,
    wait_w,
)
from profiles.energy import CALL_BYTES, FRAMING, REFERENCE_BYTES
from tests.profiles.build import device, figure, link, mode


def test_computing_costs_power_above_idle_times_pue() -> None:
    camera = device(pue=1.5)
    assert compute_j(camera, camera.modes[0], 2.0) == pytest.approx((5 - 2) * 2 * 1.5)
    assert segment_j(camera, camera.modes[0]) == pytest.approx((5 - 2) * 0.001 * 1.5)
    assert idle_w(camera) == pytest.approx(3.0)
    with pytest.raises(ProfileError, match="seconds"):
        compute_j(camera, camera.modes[0], -1.0)


def test_waiting_without_a_figure_is_an_error() -> None:
    assert wait_w(device(wait_w=figure(0.5), pue=1.2)) == pytest.approx(0.6)
    with pytest.raises(ProfileError, match="wait_w: 0"):
        wait_w(device())


def test_a_facility_adds_its_overhead() -> None:
    assert facility_j(10.0, 1.1) == pytest.approx(1.0)
    for joules, pue in ((-1.0, 1.1), (1.0, 0.5), (1.0, math.inf)):
        with pytest.raises(ProfileError):
            facility_j(joules, pue)


def test_a_wire_costs_what_its_network_costs() -> None:
    cost = transfer_cost(link(ends="none", network="switch", network_j_per_byte=1e-6), device("a"), device("b"))
    assert cost.bytes_per_s == pytest.approx(1e6 / FRAMING)
    assert cost.latency_s == pytest.approx(0.01 + CALL_BYTES / cost.bytes_per_s)
    assert cost.energy_j_per_byte == pytest.approx(1e-6)
    assert cost.energy_j_per_transfer == pytest.approx(CALL_BYTES * 1e-6)
    assert (cost.sender_fraction, cost.receiver_fraction, cost.tail_j) == (0, 0, 0)


def test_two_radios_share_the_joules() -> None:
    cost = transfer_cost(link(ends="both", rate="payload", tx_w=3.0, rx_w=1.0), device("a"), device("b"))
    # 1e6 bytes take one second at 8 Mbit/s.
    assert cost.energy_j_per_byte == pytest.approx(4e-6)
    assert cost.sender_fraction == pytest.approx(0.75)
    assert cost.receiver_fraction == pytest.approx(0.25)


def test_framing_costs_time_and_joules() -> None:
    line = transfer_cost(link(ends="both", tx_w=3.0, rx_w=1.0), device("a"), device("b"))
    payload = transfer_cost(link(ends="both", rate="payload", tx_w=3.0, rx_w=1.0), device("a"), device("b"))
    assert line.bytes_per_s * FRAMING == pytest.approx(payload.bytes_per_s)
    assert line.energy_j_per_byte == pytest.approx(payload.energy_j_per_byte * FRAMING)


@pytest.mark.parametrize(("direction", "joules", "sender"), [("up", 3e-6 + 8e-7, 1.0), ("down", 1e-6 + 1.6e-6, 0.0)])
def test_only_the_client_of_a_base_station_pays(direction: str, joules: float, sender: float) -> None:
    cell = link(direction, ends="client", rate="payload", tx_w=3.0, tx_w_per_bps=1e-7, rx_w=1.0, rx_w_per_bps=2e-7)
    cost = transfer_cost(cell, device("a"), device("b"))
    assert cost.energy_j_per_byte == pytest.approx(joules)
    assert cost.sender_fraction == pytest.approx(sender)
    assert cost.receiver_fraction == pytest.approx(1 - sender)


def test_a_radio_that_is_still_up_needs_no_waking() -> None:
    cell = link(ends="client", tx_w=3.0, tail_w=1.0, tail_s=10.0, wake_j=0.5, wake_s=0.26)
    asleep = transfer_cost(cell, device("a"), device("b"))
    awake = transfer_cost(cell, device("a"), device("b"), gap_s=2.0)
    assert asleep.tail_j == pytest.approx(10.0)
    assert awake.tail_j == pytest.approx(2.0)
    assert asleep.energy_j_per_transfer - awake.energy_j_per_transfer == pytest.approx(0.5)
    assert asleep.latency_s - awake.latency_s == pytest.approx(0.26)


def test_pue_multiplies_the_joules_of_its_own_end() -> None:
    pair = link(ends="both", rate="payload", tx_w=3.0, rx_w=1.0)
    cost = transfer_cost(pair, device("a"), device("b", pue=2.0))
    assert cost.energy_j_per_byte == pytest.approx(5e-6)
    assert cost.receiver_fraction == pytest.approx(0.4)


powers = st.floats(min_value=0, max_value=1e3)


@given(powers, powers, powers, powers, st.floats(0, 100), st.floats(1, 3), st.floats(1, 3))
def test_fractions_are_shares(
    tx_w: float, rx_w: float, wake_j: float, network: float, gap_s: float, pue_a: float, pue_b: float
) -> None:
    radio = link(
        ends="both",
        tx_w=tx_w,
        rx_w=rx_w,
        wake_j=wake_j,
        tail_w=1.0,
        tail_s=5.0,
        network="n",
        network_j_per_byte=network,
    )
    cost = transfer_cost(radio, device("a", pue=pue_a), device("b", pue=pue_b), gap_s)
    assert 0 <= cost.sender_fraction <= 1 + 1e-12
    assert 0 <= cost.receiver_fraction <= 1 + 1e-12
    assert cost.sender_fraction + cost.receiver_fraction <= 1 + 1e-9
    if network == 0:
        assert cost.sender_fraction + cost.receiver_fraction == pytest.approx(1)
    total = cost.energy_j_per_byte * REFERENCE_BYTES + cost.energy_j_per_transfer + cost.tail_j
    network_part = network * (REFERENCE_BYTES + CALL_BYTES)
    ends = total * (cost.sender_fraction + cost.receiver_fraction)
    # A large network part less nearly as much leaves rounding.
    assert ends == pytest.approx(total - network_part, rel=0.01, abs=1e-9 + 1e-14 * total)


@pytest.mark.parametrize(
    ("direction", "figures", "field"),
    [
        ("up", {"ends": "none"}, "network"),
        ("up", {"ends": "client", "rx_w": 1.0}, "tx_w"),
        ("down", {"ends": "client", "tx_w": 1.0}, "rx_w"),
        ("up", {"ends": "both", "tx_j_per_byte": 1.0}, "rx_w"),
        ("up", {"ends": "both", "tx_w_per_bps": 1.0, "rx_w": 1.0}, "tx_w"),
        ("up", {"ends": "client", "tx_w": 1.0, "tail_w": 1.0}, "tail_s"),
        ("up", {"ends": "client", "tx_w": 1.0, "tail_s": 1.0}, "tail_w"),
    ],
)
def test_a_missing_figure_is_never_zero(direction: str, figures: dict[str, object], field: str) -> None:
    with pytest.raises(ProfileError, match=f"no {field}:"):
        transfer_cost(link(direction, **figures), device("a"), device("b"))


def test_a_tail_ends_with_the_next_transfer() -> None:
    profile = LinkProfile(id="l", name="l", ends="client", tail_w=figure(2), tail_s=figure(3))
    assert tail_j(profile, 1.0) == 2.0
    assert tail_j(profile, math.inf) == 6.0
    assert tail_j(LinkProfile(id="l", name="l", ends="none"), 1.0) == 0.0
    for gap_s in (-1.0, math.nan):
        with pytest.raises(ProfileError, match="gap_s"):
            tail_j(profile, gap_s)


def test_airtime_of_a_worked_example() -> None:
    # A public worksheet of AN1200.13: SF9, 13 bytes, 125 kHz, 4/5, header and CRC on, 8 preamble symbols.
    assert airtime_s(9, 13) == pytest.approx(0.164864)


@given(st.integers(7, 12), st.integers(0, 254))
def test_airtime_grows_with_the_payload(spreading_factor: int, payload_bytes: int) -> None:
    assert airtime_s(spreading_factor, payload_bytes + 1) >= airtime_s(spreading_factor, payload_bytes)


@pytest.mark.parametrize(("spreading_factor", "payload_bytes"), [(6, 1), (13, 1), (7, -1), (7, 256)])
def test_airtime_out_of_range(spreading_factor: int, payload_bytes: int) -> None:
    with pytest.raises(ProfileError):
        airtime_s(spreading_factor, payload_bytes)


def test_power_follows_the_rate_down_to_idle() -> None:
    busy = device(modes=(msgspec.structs.replace(mode(), mac_per_s=figure(1e9), power_exponent=figure(0.5)),))
    (only,) = busy.modes
    assert at_rate(busy, only, 1e9).active_w.value == pytest.approx(5.0)
    assert at_rate(busy, only, 4e9).active_w.value == pytest.approx(10.0)
    assert at_rate(busy, only, 0.0).active_w.value == 2.0
    assert compute_j(busy, at_rate(busy, only, 4e9), 3.0) == pytest.approx(24.0)
    plain = device()
    assert at_rate(plain, plain.modes[0], 7.0) is plain.modes[0]
    with pytest.raises(ProfileError, match="mac_per_s is -1"):
        at_rate(busy, only, -1.0)
    with pytest.raises(ProfileError, match="belong together"):
        msgspec.structs.replace(mode(), mac_per_s=figure(1e9))
