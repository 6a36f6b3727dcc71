"""The transfer-time model: its arithmetic, and that it orders calls as networks do."""

from math import inf, isclose

from hypothesis import given
from hypothesis import strategies as st

from placer.transfer_time import (
    INITIAL_WINDOW_BYTES,
    Path,
    cold_s,
    idle_s,
    settled_window_bytes,
    stall_s,
    warm_s,
    wire_bytes,
)

PATHS = st.builds(Path, round_trip_s=st.floats(1e-4, 0.5), bytes_per_s=st.floats(1e4, 1.25e8))
SIZES = st.floats(0, 1e7)


def test_framing_by_hand():
    # 1448 bytes of payload make one segment of 1500; each frame of 16384 adds 9.
    assert isclose(wire_bytes(1448 - 120), 1500 * (1 + 9 / 16384))


def test_a_window_of_ten_segments_stalls_twice_before_it_holds_the_path():
    path = Path(round_trip_s=0.1, bytes_per_s=5e5)  # holds 50 kB
    # 15 kB, then 30 kB, then 60 kB, which is more than the path holds.
    assert isclose(stall_s(600e3, path, 15e3), (0.1 - 0.03) + (0.1 - 0.06))
    assert stall_s(600e3, path, inf) == 0
    assert stall_s(14e3, path, 15e3) == 0


@given(size=SIZES, path=PATHS)
def test_warm_is_quickest_and_cold_slowest(size, path):
    assert warm_s(size, path) <= idle_s(size, path) < cold_s(size, path)


@given(size=SIZES, path=PATHS, window=st.floats(INITIAL_WINDOW_BYTES, 1e7), more=st.floats(1, 10))
def test_a_larger_window_never_stalls_longer(size, path, window, more):
    assert stall_s(size, path, window * more) <= stall_s(size, path, window) + 1e-12


@given(size=st.floats(1, 1e7), path=PATHS, gap_s=st.floats(0, 100), more_s=st.floats(0, 100))
def test_longer_pauses_leave_smaller_windows(size, path, gap_s, more_s):
    window = settled_window_bytes(size, path, gap_s)
    assert INITIAL_WINDOW_BYTES <= settled_window_bytes(size, path, gap_s + more_s) <= window
    assert (window == inf) == (gap_s < path.retransmission_s)
