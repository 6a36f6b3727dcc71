"""The transfer-time model: its arithmetic, and that it orders calls as networks do."""

from math import inf, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placer.transfer_time import (
    INITIAL_WINDOW_BYTES,
    Path,
    call_s,
    held_s,
    least_paused_s,
    settled_window_bytes,
    stall_s,
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


@given(size=SIZES, path=PATHS, period_s=st.floats(0, 100))
def test_busy_is_quickest_and_closed_slowest(size, path, period_s):
    busy_s, paused_s, new_s, closed_s = (
        call_s(size, path, state, period_s) for state in ("busy", "paused", "new", "closed")
    )
    assert busy_s <= paused_s <= new_s + 1e-12
    assert isclose(closed_s - new_s, 2 * path.round_trip_s + 0.009, abs_tol=1e-9)


@given(size=SIZES, round_trip_s=st.floats(1e-4, 0.5), part=st.floats(0.01, 1), period_s=st.floats(0, 100))
def test_what_a_first_window_holds_is_never_held_back(size, round_trip_s, part, period_s):
    path = Path(round_trip_s=round_trip_s, bytes_per_s=part * INITIAL_WINDOW_BYTES / round_trip_s * (1 - 1e-9))
    assert held_s(wire_bytes(size), path, "paused", period_s) == held_s(wire_bytes(size), path, "new") == 0


@given(sizes=st.lists(SIZES, min_size=3, max_size=3), path=PATHS, period_s=st.floats(0, 100))
def test_no_message_is_held_back_less_than_the_least_of_its_range(sizes, path, period_s):
    least, size, most = (wire_bytes(s) for s in sorted(sizes))
    assert least_paused_s(least, most, path, period_s) <= held_s(size, path, "paused", period_s) + 1e-12


@given(size=SIZES, path=PATHS, window=st.floats(INITIAL_WINDOW_BYTES, 1e7), more=st.floats(1, 10))
def test_a_larger_window_never_stalls_longer(size, path, window, more):
    assert stall_s(size, path, window * more) <= stall_s(size, path, window) + 1e-12


@given(size=st.floats(1, 1e7), path=PATHS, gap_s=st.floats(0, 100), more_s=st.floats(0, 100))
def test_longer_pauses_leave_smaller_windows(size, path, gap_s, more_s):
    window = settled_window_bytes(size, path, gap_s)
    assert INITIAL_WINDOW_BYTES <= settled_window_bytes(size, path, gap_s + more_s) <= window
    assert (window == inf) == (gap_s < path.retransmission_s)


@pytest.mark.parametrize("size", [*range(50_000, 250_000, 4_900), 200_000])
def test_rounding_adds_no_stall_where_the_doublings_end_with_the_message(size: int) -> None:
    """In exact arithmetic a window of a third of a message and its double are the message: one stall, not two."""
    path = Path(round_trip_s=0.06, bytes_per_s=10365e3)
    sent = wire_bytes(size)
    gap_s = 0.7 - sent / path.bytes_per_s
    assert 2 <= gap_s / path.retransmission_s < 3
    assert isclose(held_s(sent, path, "paused", 0.7), 0.06 - sent / 3 / path.bytes_per_s)
