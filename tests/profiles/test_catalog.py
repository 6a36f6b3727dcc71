import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from profiles import Catalog, CatalogError, DeviceProfile, LinkProfile, Mode
from profiles.catalog import Facility, Network, Region
from profiles.device import Benchmark
from profiles.energy import airtime_s, missing_figures

CATALOG = Catalog.load()


def test_the_catalog_is_loaded_once() -> None:
    assert Catalog.load() is CATALOG
    assert CATALOG.device("rpi4b_armnn") is CATALOG.device("rpi4b_armnn")


def test_three_tiers_and_enough_of_each() -> None:
    tiers = [profile.tier for profile in CATALOG.devices()]
    assert {tier: tiers.count(tier) for tier in set(tiers)} == {"sensor": 12, "edge": 19, "cloud": 5}
    usable = [link for link in CATALOG.links() if missing_figures(link, "up") is None]
    assert len(usable) >= 15


def test_every_file_holds_and_every_source_is_used() -> None:
    used: set[str] = set()
    for folder in ("devices", "links"):
        for file in (Path(__file__).parents[2] / "profiles" / "catalog" / folder).iterdir():
            used |= {source for source in CATALOG.sources if source in file.read_text(encoding="utf-8")}
    for file in (Path(__file__).parents[2] / "profiles" / "catalog").glob("[gn]*.yaml"):
        used |= {source for source in CATALOG.sources if source in file.read_text(encoding="utf-8")}
    assert len(CATALOG.devices()) >= 30
    assert len(CATALOG.links()) >= 30
    assert len(CATALOG.networks) >= 6
    assert len(CATALOG.grid.facilities) >= 7
    assert used == set(CATALOG.sources)


@pytest.mark.parametrize("profile", [p for p in CATALOG.devices() if p.benchmarks], ids=lambda profile: str(profile.id))
def test_a_mode_is_the_fit_of_its_benchmarks(profile: DeviceProfile) -> None:
    for mode in profile.modes:
        runs = [run for run in profile.benchmarks if run.mode == mode.name]
        macs = np.array([run.macs for run in runs])
        seconds = np.array([run.seconds.value for run in runs])
        intercept, slope = _relative_fit(macs, seconds) if len(runs) > 1 else (0.0, seconds[0] / macs[0])
        assert mode.s_per_mac.value == pytest.approx(slope, rel=1e-3)
        assert mode.segment_s.value == pytest.approx(intercept, rel=2e-3, abs=1e-9)
        powers = [run.power_w.value for run in runs]
        assert mode.active_w.value == pytest.approx(np.median(powers), rel=1e-3)
        error = np.mean(np.abs((intercept + slope * macs) / seconds - 1))
        if mode.s_per_mac.relative_uncertainty is None:
            # Two points or one leave nothing to judge a line by.
            assert len(runs) <= 2
        else:
            assert mode.s_per_mac.relative_uncertainty == pytest.approx(error, rel=0.02)


def test_an_accelerator_s_power_follows_its_rate_as_its_benchmarks_do() -> None:
    accelerators = [d for d in CATALOG.devices() if d.tier == "sensor" and d.modes[0].name.startswith("npu")]
    assert len(accelerators) == 5
    rates, powers = [], []
    for device in accelerators:
        rate = np.log([run.macs / run.seconds.value for run in device.benchmarks])
        power = np.log([run.power_w.value for run in device.benchmarks])
        rates.append(rate - rate.mean())
        powers.append(power - power.mean())
    x, y = np.concatenate(rates), np.concatenate(powers)
    slope = float(x @ y / (x @ x))
    for device in accelerators:
        (mode,) = device.modes
        assert mode.power_exponent is not None
        assert mode.mac_per_s is not None
        assert mode.power_exponent.value == pytest.approx(slope, rel=1e-3)
        rate = np.array([run.macs / run.seconds.value for run in device.benchmarks])
        power_w = mode.active_w.value * (rate / mode.mac_per_s.value) ** mode.power_exponent.value
        over = np.array([run.power_w.value for run in device.benchmarks]) / power_w
        assert np.median(np.log(over)) == pytest.approx(0, abs=2e-3)
    assert [d.id for d in CATALOG.devices() if d not in accelerators and any(m.mac_per_s for m in d.modes)] == []


def _relative_fit(macs: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """Minimize the sum of squares of (a + b * MAC) / t - 1, with a not negative."""
    terms = np.stack([1 / seconds, macs / seconds], axis=1)
    intercept, slope = np.linalg.lstsq(terms, np.ones_like(seconds), rcond=None)[0]
    if intercept >= 0:
        return float(intercept), float(slope)
    return 0.0, float(terms[:, 1].sum() / (terms[:, 1] ** 2).sum())


def test_lora_bandwidth_is_payload_over_airtime() -> None:
    payload = {7: 222, 8: 222, 9: 115, 10: 51, 11: 51, 12: 51}
    for spreading_factor, size in payload.items():
        link = CATALOG.link(f"lorawan_eu868_sf{spreading_factor}")
        assert link.bandwidth_up_bps is not None
        expected = 8 * size / airtime_s(spreading_factor, size + 13)
        assert link.bandwidth_up_bps.value == pytest.approx(expected, rel=1e-3)


def test_lte_costs_what_one_packet_costs() -> None:
    # Huang et al. 2012 measured 12.76 J for one packet: promotion, tail and little else.
    link = CATALOG.link("lte_phone_2012")
    assert link.wake_j is not None
    assert link.tail_w is not None
    assert link.tail_s is not None
    assert link.wake_j.value + link.tail_w.value * link.tail_s.value == pytest.approx(12.76, rel=0.02)


def test_search_finds_every_word() -> None:
    assert {p.id for p in CATALOG.search("raspberry ARMNN")} == {"rpi4b_armnn"}
    kinds = (CATALOG.devices(), CATALOG.links(), CATALOG.networks, CATALOG.grid.facilities, CATALOG.grid.regions)
    assert len(CATALOG.search("")) == sum(map(len, kinds))
    assert {p.id for p in CATALOG.search("germany grid")} == {"DEU_2019", "DE_2020"}
    assert CATALOG.search("abacus") == ()


@pytest.mark.parametrize("ask", [CATALOG.device, CATALOG.link, CATALOG.network])
def test_an_unknown_id_is_refused(ask: object) -> None:
    with pytest.raises(CatalogError, match=r"of the catalog; .* more; `placer catalog list` shows all") as refused:
        ask("../sources")  # type: ignore[operator]
    assert len(str(refused.value)) < 200


SOURCES = "S: {title: t, author: a, where: w}\n"
DEVICE = """\
id: d
name: D
tier: edge
boundary: wall
idle_w: {value: 1, source: S, origin: measured}
modes:
  - name: m
    numeric: fp32
    active_w: {value: 2, source: S, origin: measured}
    segment_s: {value: 0, source: S, origin: fitted}
    s_per_mac: {value: 1e-9, source: S, origin: fitted}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", None),
        ("value: 1, source: S", "value: 1", r"d\.yaml: idle_w: field 'source' is missing"),
        ("value: 2, source: S", "value: 2, source: T", r"d\.yaml: modes\[0\]\.active_w\.source: 'T' is no source"),
        ("value: 2, source: S", "value: 2, source: 'S, T'", r"active_w\.source: 'T' is no source"),
        ("value: 1, source: S, origin: measured", "value: 1, source: S, origin: declared", "no declared figures"),
        ("id: d", "id: e", r"d\.yaml: id: 'e' is not the file's name"),
        ("value: 2", "value: 0.5", "below idle_w 1"),
        ("idle_w:", "idle:", r"d\.yaml: idle: .*unknown field.*did you mean 'idle_w'|d\.yaml: .*'idle'"),
        ("{value: 1, source", "{value: 1 W, source", r"d\.yaml: idle_w\.value: '1 W'"),
        ("tier: edge", "tier: fog", r"d\.yaml: tier: 'fog' is not allowed; known: cloud, edge, sensor"),
        ("name: D", "name: [", r"d\.yaml, line"),
        ("idle_w: {value: 1", "idle_w: {value: nan", r"d\.yaml: idle_w\.value: 'nan' is not allowed"),
    ],
)
def test_a_file_that_does_not_hold_is_refused(tmp_path: Path, old: str, new: str, message: str | None) -> None:
    (tmp_path / "devices").mkdir()
    (tmp_path / "sources.yaml").write_text(SOURCES, encoding="utf-8")
    (tmp_path / "devices" / "d.yaml").write_text(DEVICE.replace(old, new, 1), encoding="utf-8")
    catalog = Catalog(tmp_path)
    if message is None:
        assert catalog.devices()[0].id == "d"
        return
    with pytest.raises(CatalogError, match=message):
        catalog.device("d")


def test_every_quantity_of_the_catalog_says_its_unit() -> None:
    """A figure's unit is the suffix of its field: SI, bit/s, a ratio; no field of a figure is without."""
    units = re.compile(
        r"_(w|s|j|hz|bytes|bps|s_per_mac|w_per_bps|j_per_byte|g_per_j|per_s)$|^(seconds|s_per_mac|g_per_j)$|^j_per_"
    )
    ratios = {"duty_cycle", "pue", "power_exponent"}
    for kind in (DeviceProfile, Mode, Benchmark, LinkProfile, Network, Facility, Region):
        for field in msgspec.structs.fields(kind):
            if "Figure" in str(field.type):
                assert field.name in ratios or units.search(field.name), f"{kind.__name__}.{field.name}"
