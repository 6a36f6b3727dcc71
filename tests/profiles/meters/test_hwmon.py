import os
from pathlib import Path

import pytest

from profiles import MeterError
from profiles.meters import HwmonMeter


def chip(root: Path, folder: str, name: str, **values: int) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n", encoding="ascii")
    for file, value in values.items():
        (path / file).write_text(f"{value}\n", encoding="ascii")
    return path


def test_the_watts_of_an_ina226_over_a_window(tmp_path: Path) -> None:
    chip(tmp_path, "hwmon0", "cpu_thermal", temp1_input=41000)
    chip(tmp_path, "hwmon1", "ina226", power1_input=2_500_000, curr1_input=500, in1_input=5000)
    meter = HwmonMeter(root=tmp_path)
    meter.begin_window()
    measurement = meter.end_window()
    assert measurement.joules == pytest.approx(2.5 * measurement.seconds)
    assert measurement.source.startswith("hwmon: ina226/power1")
    assert measurement.boundary == "board"


def test_an_ina3221_leaves_the_product_to_its_reader(tmp_path: Path) -> None:
    chip(tmp_path, "hwmon0", "ina3221", in1_input=5000, curr1_input=-400, in2_input=3300, curr2_input=100)
    with pytest.raises(MeterError, match="several power sensors, name the supply's: ina3221/curr1, ina3221/curr2"):
        HwmonMeter(root=tmp_path)
    meter = HwmonMeter("ina3221/curr1", boundary="chip", root=tmp_path)
    meter.begin_window()
    measurement = meter.end_window()
    assert measurement.joules == pytest.approx(2.0 * measurement.seconds)
    assert measurement.boundary == "chip"


def test_two_chips_of_one_kind_are_told_apart(tmp_path: Path) -> None:
    chip(tmp_path, "hwmon0", "ina219", power1_input=1_000_000)
    chip(tmp_path, "hwmon1", "ina219", power1_input=3_000_000)
    meter = HwmonMeter("hwmon1/ina219/power1", root=tmp_path)
    meter.begin_window()
    measurement = meter.end_window()
    assert measurement.joules == pytest.approx(3.0 * measurement.seconds)


def test_a_sensor_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="has no power sensor: no chip there shows watts"):
        HwmonMeter(root=tmp_path)
    chip(tmp_path, "hwmon0", "ina226", power1_input=1)
    with pytest.raises(MeterError, match=r"no power sensor 'ina226/power2'; did you mean 'ina226/power1'\?"):
        HwmonMeter("ina226/power2", root=tmp_path)


def test_a_sensor_that_goes_away_in_a_window_gives_no_joules(tmp_path: Path) -> None:
    path = chip(tmp_path, "hwmon0", "ina226", power1_input=1_000_000)
    meter = HwmonMeter(root=tmp_path)
    meter.begin_window()
    (path / "power1_input").unlink()
    with pytest.raises(MeterError, match="power1_input cannot be read"):
        meter.end_window()
    # The window is over nevertheless: the next one begins when the sensor is back.
    (path / "power1_input").write_text("1000000", encoding="ascii")
    meter.begin_window()
    assert meter.end_window().seconds >= 0


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    path = chip(tmp_path, "hwmon0", "ina226", power1_input=1)
    (path / "power1_input").write_text("n/a", encoding="ascii")
    with pytest.raises(MeterError, match="holds 'n/a' where a number of microwatts was expected"):
        HwmonMeter(root=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_right_to_read(tmp_path: Path) -> None:
    path = chip(tmp_path, "hwmon0", "ina226", power1_input=1)
    (path / "power1_input").chmod(0)
    with pytest.raises(MeterError, match="may not be read; run as root"):
        HwmonMeter(root=tmp_path)
