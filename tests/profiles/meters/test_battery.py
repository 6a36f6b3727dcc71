from pathlib import Path

import pytest

from profiles import MeterError
from profiles.meters import BatteryMeter


def supply(root: Path, name: str, **values: str) -> Path:
    path = root / name
    path.mkdir(parents=True)
    for file, value in values.items():
        (path / file).write_text(f"{value}\n", encoding="ascii")
    return path


def test_the_watts_of_the_only_battery(tmp_path: Path) -> None:
    supply(tmp_path, "AC", type="Mains", online="0")
    supply(tmp_path, "hid-mouse", type="Battery", scope="Device", status="Discharging", power_now="1")
    supply(tmp_path, "BAT0", type="Battery", status="Discharging", power_now="7250000")
    meter = BatteryMeter(root=tmp_path)
    meter.begin_window()
    measurement = meter.end_window()
    assert measurement.joules == pytest.approx(7.25 * measurement.seconds)
    assert (measurement.source.partition(",")[0], measurement.boundary) == ("battery BAT0", "board")


def test_volts_and_amperes_where_no_watts_are_shown(tmp_path: Path) -> None:
    supply(tmp_path, "BAT1", type="Battery", status="Discharging", current_now="-800000", voltage_now="3700000")
    meter = BatteryMeter("BAT1", root=tmp_path)
    meter.begin_window()
    measurement = meter.end_window()
    assert measurement.joules == pytest.approx(2.96 * measurement.seconds)


def test_a_charger_that_is_plugged_in_hides_what_the_device_draws(tmp_path: Path) -> None:
    path = supply(tmp_path, "BAT0", type="Battery", status="Charging", power_now="7250000")
    with pytest.raises(MeterError, match=r"battery BAT0 is 'Charging'.*unplug the charger"):
        BatteryMeter(root=tmp_path)
    (path / "status").write_text("Discharging", encoding="ascii")
    meter = BatteryMeter(root=tmp_path)
    meter.begin_window()
    (path / "status").write_text("Full", encoding="ascii")
    with pytest.raises(MeterError, match="is 'Full'"):
        meter.end_window()


def test_no_battery_or_too_many(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="has no battery"):
        BatteryMeter(root=tmp_path)
    for name in ("BAT0", "BAT1"):
        supply(tmp_path, name, type="Battery", status="Discharging", power_now="1")
    with pytest.raises(MeterError, match="several batteries, name one: BAT0, BAT1"):
        BatteryMeter(root=tmp_path)
    with pytest.raises(MeterError, match=r"no battery 'BAT2'; did you mean"):
        BatteryMeter("BAT2", root=tmp_path)
