import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import MeterError
from profiles.meters import SampledMeter
from profiles.meters.sampled import integrate

samples = st.lists(
    st.tuples(st.floats(0, 10, allow_subnormal=False), st.floats(0, 100, allow_subnormal=False)), min_size=1, max_size=8
)


def test_a_ramp_is_half_its_end() -> None:
    assert integrate([(1.0, 0.0), (3.0, 8.0)]) == 8.0
    assert integrate([(1.0, 5.0)]) == 0.0


@given(samples)
def test_joules_lie_between_the_least_and_the_most_watts_times_the_time(steps: list[tuple[float, float]]) -> None:
    now_s, taken = 0.0, []
    for step_s, power_w in steps:
        now_s += step_s
        taken.append((now_s, power_w))
    seconds = taken[-1][0] - taken[0][0]
    powers = [power_w for _, power_w in taken]
    assert min(powers) * seconds - 1e-6 <= integrate(taken) <= max(powers) * seconds + 1e-6


def test_it_is_read_while_the_window_is_open_and_not_after_it() -> None:
    thrice = threading.Event()
    reads = []

    def read_w() -> float:
        reads.append(threading.current_thread().name)
        if reads.count("meter") >= 3:
            thrice.set()
        return 4.0

    meter = SampledMeter(read_w, "a test", "wall")
    with pytest.raises(MeterError, match="no window is open"):
        meter.end_window()
    meter.begin_window()
    with pytest.raises(MeterError, match="open already"):
        meter.begin_window()
    assert thrice.wait(30)
    measurement = meter.end_window()
    assert measurement.joules == pytest.approx(4.0 * measurement.seconds)
    assert measurement.source == f"a test, {len(reads) - 1} readings"
    assert not any(thread.name == "meter" for thread in threading.enumerate())


def test_one_failed_reading_spoils_the_window() -> None:
    failed = threading.Event()

    def read_w() -> float:
        if threading.current_thread().name == "meter":
            failed.set()
            raise MeterError("the wire came loose")
        return 1.0

    meter = SampledMeter(read_w, "a test", "wall")
    meter.begin_window()
    assert failed.wait(30)
    with pytest.raises(MeterError, match="came loose"):
        meter.end_window()
