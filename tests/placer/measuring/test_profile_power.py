import pytest

from placer.errors import MeasureError
from placer.measuring.profile_power import measure_windows, power_figure
from profiles.meters import Measurement, RaplMeter, ReplayMeter, write_log


class Running:
    """A model that runs half of the time that it is asked to."""

    def keep_running(self, place, until):
        import time

        began = time.monotonic()
        while time.monotonic() < until:
            pass
        return (time.monotonic() - began) / 2


def replay(tmp_path, *joules):
    log = tmp_path / "meter.jsonl"
    write_log(log, [Measurement(joules=each, seconds=2.0, source="a plug", boundary="wall") for each in joules])
    return ReplayMeter(log)


def measure(meter):
    return measure_windows(meter, Running(), 0, 0.02, sleep=lambda seconds: None)


def test_what_runs_half_the_time_draws_twice_what_it_adds(tmp_path):
    seen = measure(replay(tmp_path, 4, 10, 6, 12, 4, 10))
    assert seen.idle_w == (2.0, 3.0, 2.0)
    # 5 W on average, 3 W above idle, in half of the window.
    assert seen.active_w == pytest.approx((8.0, 9.0, 8.0), rel=0.01)
    assert (seen.source, seen.boundary) == ("a plug", "wall")


def test_a_meter_that_stands_still_is_no_meter(tmp_path):
    with pytest.raises(MeasureError, match=r"\(a plug\) showed 0 J in 2 s: it stands still"):
        measure(replay(tmp_path, 4, 10, 0, 10))


def test_a_meter_that_stops_in_the_middle(tmp_path):
    with pytest.raises(MeasureError, match=r"the energy meter failed: .*has 3 windows and all have been replayed"):
        measure(replay(tmp_path, 4, 10, 6))


def test_work_that_the_meter_does_not_see(tmp_path):
    with pytest.raises(MeasureError, match=r"shows [0-9.]+ W while a model runs and 2 W while none does"):
        measure(replay(tmp_path, 4, 3, 4, 3, 4, 3))


@pytest.mark.parametrize("over", [False, True])
def test_a_counter_that_wraps_is_read_on(tmp_path, over):
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0")
    (zone / "max_energy_range_uj").write_text("10000000")
    counts = iter([0, 2_000_000, 8_000_000, 9_500_000, 5_000_000, 7_000_000] if over else range(0, 10**7, 10**6))

    def count():
        (zone / "energy_uj").write_text(str(next(counts)))

    class Counted(RaplMeter):
        def begin_window(self):
            super().begin_window()
            count()

    count()
    meter = Counted(tmp_path, clock=iter(range(100)).__next__)
    if not over:
        assert measure_joules(meter) == [1.0, 1.0]
        return
    # 9.5 to 5 million: it ran over once, so 5.5 J.
    assert measure_joules(meter) == [2.0, 6.0]
    assert measure_joules(meter) == pytest.approx([1.5, 5.5])


def measure_joules(meter):
    found = []
    for _ in range(2):
        meter.begin_window()
        found.append(meter.end_window().joules)
    return found


def test_a_figure_is_the_median_and_its_median_deviation():
    figure = power_figure([4.0, 5.0, 9.0], "a plug", "")
    assert (figure.value, figure.relative_uncertainty, figure.origin) == (5.0, 0.2, "measured")
