from pathlib import Path

import pytest

from profiles import MeterError, ProfileError
from profiles.meters import Measurement, Meter, RaplMeter, ReplayMeter, write_log

WINDOWS = tuple(Measurement(joules=joules, seconds=1.0, source="bench", boundary="wall") for joules in (0.5, 1.5))


def test_what_was_recorded_is_replayed_in_order(tmp_path: Path) -> None:
    log = tmp_path / "windows.jsonl"
    write_log(log, WINDOWS)
    meter: Meter = ReplayMeter(log)
    for window in WINDOWS:
        meter.begin_window()
        assert meter.end_window() == window
    with pytest.raises(MeterError, match="has 2 windows and all have been replayed"):
        meter.begin_window()


def test_windows_come_one_after_the_other(tmp_path: Path) -> None:
    log = tmp_path / "windows.jsonl"
    write_log(log, WINDOWS)
    meter = ReplayMeter(log)
    with pytest.raises(MeterError, match="no window is open"):
        meter.end_window()
    meter.begin_window()
    with pytest.raises(MeterError, match="open already"):
        meter.begin_window()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1"),
        ('{"joules": 1}', "line 1.*seconds"),
        ('{"joules": -1, "seconds": 1, "source": "s", "boundary": "wall"}', "line 1: joules is -1"),
        ('{"joules": 1, "seconds": 1, "source": "s", "boundary": "planet"}', "line 1.*planet"),
    ],
)
def test_a_line_that_does_not_hold(tmp_path: Path, line: str, message: str) -> None:
    log = tmp_path / "windows.jsonl"
    log.write_text(line, encoding="utf-8")
    with pytest.raises(MeterError, match=message):
        ReplayMeter(log)


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="cannot be read"):
        ReplayMeter(tmp_path / "none")


def test_a_measurement_is_not_negative() -> None:
    with pytest.raises(ProfileError, match="seconds"):
        Measurement(joules=1.0, seconds=-1.0, source="s", boundary="wall")


def test_both_meters_follow_the_protocol() -> None:
    kinds: list[type[Meter]] = [RaplMeter, ReplayMeter]
    assert all(hasattr(kind, "begin_window") and hasattr(kind, "end_window") for kind in kinds)
