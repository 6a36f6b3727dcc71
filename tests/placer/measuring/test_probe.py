"""From a probe to figures: exact on made-up links, and the command against real agents."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import msgspec
import pytest

from placer.errors import RunError
from placer.measuring.probe import link_figures, probed_profile
from placer.transfer_time import wire_bytes
from profiles import Catalog, LinkProfile
from profiles.profile_file import read_profile
from runtimes.local import LocalAgents
from runtimes.probe import LinkProbe
from tests.placer.cli.test_explain import command

__all__ = ["command"]


def made_up(*, round_trip_s: float, up: float, down: float, noise: float = 0.0, kernel: bool = True) -> LinkProbe:
    """Make a probe of a link with bandwidths in bytes/s; noise shifts runs up and down by that part."""
    size = 1 << 20
    shifts = [1 + noise * sign for sign in (0, 1, -1, 1, -1, 1, -1)]
    extra = wire_bytes(size) - wire_bytes(0)
    return LinkProbe(
        device="box",
        first_s=3 * round_trip_s,
        small_s=tuple(round_trip_s * s for s in shifts),
        large_bytes=size,
        up_s=tuple((round_trip_s + extra / up) * s for s in shifts),
        down_s=tuple((round_trip_s + extra / down) * s for s in shifts),
        stream_small_s=(round_trip_s,) * 7,
        stream_up_s=(round_trip_s,) * 7,
        least_round_trip_s=round_trip_s / 2 if kernel else None,
        segments=1000 if kernel else None,
        retransmitted=3 if kernel else None,
    )


def test_a_link_without_noise_is_found_exactly() -> None:
    found = link_figures(made_up(round_trip_s=0.02, up=1e6, down=5e6))
    assert found.latency_s == pytest.approx(0.01)
    assert found.up_bytes_per_s == pytest.approx(1e6)
    assert found.down_bytes_per_s == pytest.approx(5e6)
    assert (found.latency_spread, found.jitter_s) == (0.0, 0.0)
    assert found.loss == pytest.approx(0.003)
    assert found.call_s == pytest.approx(0.01)


def test_noise_becomes_spread_and_not_error() -> None:
    found = link_figures(made_up(round_trip_s=0.02, up=1e6, down=5e6, noise=0.05, kernel=False))
    assert found.up_bytes_per_s == pytest.approx(1e6, rel=0.01)
    assert found.latency_spread == pytest.approx(0.05 * 1.4826)
    assert found.up_spread > 0.05
    assert found.jitter_s == pytest.approx((0.001 + 5 * 0.002) / 6)
    assert found.loss is found.call_s is None


def test_a_busy_machine_hides_the_bandwidth_in_the_medians_alone() -> None:
    quiet = made_up(round_trip_s=0.001, up=1e8, down=1e8)
    busy = msgspec.structs.replace(quiet, small_s=(0.001, *[0.05] * 6))
    found = link_figures(busy)
    assert found.up_bytes_per_s == pytest.approx(1e8)
    assert found.latency_s == 0.025


def test_large_messages_that_take_no_longer_say_nothing() -> None:
    with pytest.raises(RunError, match=r"1048576 bytes to 'box' took no longer than none"):
        link_figures(made_up(round_trip_s=0.02, up=1e12, down=1e6))


def test_a_profile_keeps_what_no_probe_can_tell() -> None:
    like = Catalog.load().link("wifi_phone_2012")
    found = link_figures(made_up(round_trip_s=0.02, up=1e6, down=5e6))
    made = probed_profile(found, name="mine", ends="client", like=like, ways=("camera", "box"), day=date(2026, 11, 22))
    assert (made.id, made.ends, made.tx_w, made.tail_s) == ("mine", "client", like.tx_w, like.tail_s)
    assert made.bandwidth_up_bps is not None
    assert made.latency_s is not None
    assert made.bandwidth_up_bps.value == pytest.approx(8e6)
    assert (made.latency_s.origin, made.latency_s.source) == ("measured", "placer probe, 2026-11-22, camera to box")
    assert "0.30% of the TCP packets sent again; energy as wifi_phone_2012" in made.note


@pytest.fixture(scope="module")
def agents():
    with LocalAgents(("camera", "box")) as running:
        yield running.addresses


def test_the_command_measures_from_an_agent_and_saves_a_profile(command, agents) -> None:
    code, out, err = command(
        "probe", agents["camera"], f"box={agents['box']}", "--like", "ethernet_1g", "--save", "wire.yaml", "--json"
    )
    assert code == 0, err
    answer = json.loads(out)
    assert answer["to"] == "box"
    profile = read_profile(Path("wire.yaml"), LinkProfile)
    assert profile.id == "wire"
    assert profile.ends == "none"
    assert profile.latency_s is not None
    assert profile.bandwidth_down_bps is not None
    assert 0 < profile.latency_s.value < 0.1
    assert profile.bandwidth_down_bps.value > 1e7
    code, out, _ = command("probe", agents["box"])
    assert code == 0
    for words in ("this machine to box", "first call", "bandwidth back", "Mbit/s", "TCP packets sent again"):
        assert words in out


def test_an_agent_that_probes_under_another_name_is_refused(command, agents) -> None:
    code, _, err = command("probe", f"cam={agents['camera']}", f"box={agents['box']}")
    assert code == 4
    assert "is 'camera', not 'cam'; look at the addresses" in " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("a:1", "b:2", "c:3"), 2, "3 ends are given"),
        (("box",), 2, "'box': give HOST:PORT of the agent"),
        (("camera", "box"), 2, "'camera': give HOST:PORT of the agent that is to probe"),
        (("127.0.0.1:1", "127.0.0.1:2"), 2, "say which device that is, DEVICE=127.0.0.1:2"),
        (("127.0.0.1:1", "--save", "x.yaml"), 2, "no probe measures joules; give --like ID"),
        (("127.0.0.1:1", "--save", "x.yaml", "--ends", "left"), 2, "--ends 'left'"),
        (("127.0.0.1:1", "--like", "ethernet_1gg"), 2, "did you mean 'ethernet_1g'"),
        (("unix:/tmp/x:1",), 4, "is no address of an agent"),
    ],
)
def test_wrong_questions_are_refused(command, arguments, code, words) -> None:
    found, _, err = command("probe", *arguments)
    assert (found, words in err) == (code, True), err
    assert not Path("x.yaml").exists()
