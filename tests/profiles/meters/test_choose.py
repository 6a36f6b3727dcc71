from pathlib import Path

import pytest

from profiles import MeterError
from profiles.meters import Measurement, choose, find_meter, open_meter, write_log


def test_a_log_is_replayed(tmp_path: Path) -> None:
    log = tmp_path / "windows.jsonl"
    write_log(log, [Measurement(joules=3.0, seconds=2.0, source="a plug", boundary="wall")])
    meter = open_meter(f"replay:{log}")
    meter.begin_window()
    assert meter.end_window().joules == 3.0


@pytest.mark.parametrize("name", ["rappl", "replay:", "zeus:", "rapl:0"])
def test_an_unknown_meter_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(MeterError, match=f"'{name}' is no meter; known: rapl, hwmon"):
        open_meter(name)


def test_the_first_that_can_be_read_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(name: str) -> str:
        asked.append(name)
        if name != "rapl":
            raise MeterError("not here")
        return "the meter"

    monkeypatch.setattr(choose, "open_meter", answer)
    assert find_meter() == "the meter"
    assert asked == ["battery", "rapl"]


def test_where_none_can_be_read_each_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(name: str) -> str:
        raise MeterError(f"no {name} at all")

    monkeypatch.setattr(choose, "open_meter", answer)
    with pytest.raises(
        MeterError, match=r"battery: no battery at all; rapl: no rapl at all\); a sensor of hwmon has to be named"
    ):
        find_meter()


def test_only_a_sensors_wire_needs_its_boundary_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="the meter 'rapl' knows what it includes; leave the boundary 'wall' out"):
        open_meter("rapl", "wall")
    seen = []
    monkeypatch.setattr(choose, "HwmonMeter", lambda *given: seen.append(given))
    open_meter("hwmon:ina226/power1", "wall")
    open_meter("hwmon")
    assert seen == [("ina226/power1", "wall"), (None, "board")]
