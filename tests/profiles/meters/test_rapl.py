import os
from collections.abc import Callable
from pathlib import Path

import pytest

from profiles import MeterError
from profiles.meters import RaplMeter

RANGE = 1_000_000_000


def zone(root: Path, folder: str, name: str, counts: int = 0) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n", encoding="ascii")
    (path / "energy_uj").write_text(f"{counts}\n", encoding="ascii")
    (path / "max_energy_range_uj").write_text(f"{RANGE}\n", encoding="ascii")
    return path / "energy_uj"


def ticking(*times: float) -> Callable[[], float]:
    ticks = iter(times)
    return lambda: next(ticks)


def test_packages_and_their_memory_are_added_and_parts_left_out(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    dram = zone(tmp_path, "intel-rapl:0:1", "dram", 7)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    platform = zone(tmp_path, "intel-rapl:2", "psys", 0)
    mmio = zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0)
    meter = RaplMeter(tmp_path, clock=ticking(10.0, 12.5))
    meter.begin_window()
    first.write_text("2000005", encoding="ascii")
    dram.write_text("500007", encoding="ascii")
    second.write_text("1000000", encoding="ascii")
    for other in (core, platform, mmio):
        other.write_text("9000000", encoding="ascii")
    measurement = meter.end_window()
    assert measurement.joules == pytest.approx(3.5)
    assert measurement.seconds == 2.5
    assert measurement.source == "RAPL: package-0, dram of package-0, package-1"
    assert measurement.boundary == "chip"


def test_a_counter_that_ran_over_is_corrected(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 1_000_000)
    meter = RaplMeter(tmp_path)
    meter.begin_window()
    counter.write_text("500000", encoding="ascii")
    assert meter.end_window().joules == pytest.approx(1.5)


def test_windows_come_one_after_the_other(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0")
    meter = RaplMeter(tmp_path)
    with pytest.raises(MeterError, match="no window is open"):
        meter.end_window()
    meter.begin_window()
    with pytest.raises(MeterError, match="open already"):
        meter.begin_window()
    assert meter.end_window().joules == 0.0
    meter.begin_window()


@pytest.mark.parametrize("name", [None, "core", "psys"])
def test_a_machine_without_counters(tmp_path: Path, name: str | None) -> None:
    if name is not None:
        zone(tmp_path, "intel-rapl:0", name)
    with pytest.raises(MeterError, match="has no RAPL package"):
        RaplMeter(tmp_path)


def test_a_counter_that_holds_no_count(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0").write_text("", encoding="ascii")
    with pytest.raises(MeterError, match="holds '' where a count"):
        RaplMeter(tmp_path)


def test_a_counter_that_goes_away(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0")
    meter = RaplMeter(tmp_path)
    meter.begin_window()
    counter.unlink()
    with pytest.raises(MeterError, match="cannot be read"):
        meter.end_window()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_counter_that_may_not_be_read(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0").chmod(0)
    with pytest.raises(MeterError, match="CVE-2020-8694"):
        RaplMeter(tmp_path)


def test_a_refused_permission_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may read everything, so the kernel's refusal is played here.
    zone(tmp_path, "intel-rapl:0", "package-0")

    def refuse(self: Path, **_: object) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(MeterError, match="run as root, or let a udev rule"):
        RaplMeter(tmp_path)
