"""Lanes under a clock of the test's own: rate, delay, order, drops and cuts."""

from hypothesis import given
from hypothesis import strategies as st

from placer.emulation.shaping import Lane, LaneSpec, Medium, make_lane


def lane(medium=None, *, rate=1e6, latency_s=0.01, queue_s=10.0):
    return Lane(bytes_per_s=rate, latency_s=latency_s, queue_s=queue_s, medium=medium or Medium())


def arrivals(target):
    found = []
    while (due := target.next_at()) is not None:
        found.append((due, target.take(due)))
    return found


def test_a_packet_takes_its_serialization_and_the_delay():
    shaped = lane()
    shaped.accept(b"a", 1000, now=5.0)
    assert shaped.take(5.0109) is None
    assert shaped.take(5.0111) == b"a"
    assert shaped.next_at() is None


@given(st.lists(st.tuples(st.floats(0, 0.01), st.integers(1, 65536)), min_size=1, max_size=50))
def test_packets_keep_their_order_and_the_lane_its_rate(packets):
    shaped, now, total = lane(), 0.0, 0
    for number, (gap_s, size) in enumerate(packets):
        now += gap_s
        shaped.accept(str(number).encode(), size, now)
        total += size
    found = arrivals(shaped)
    assert [int(p) for _, p in found] == list(range(len(packets)))
    assert found[-1][0] >= total / shaped.bytes_per_s + shaped.latency_s - 1e-9
    assert [at for at, _ in found] == sorted(at for at, _ in found)


def test_goodput_of_a_full_lane_is_its_rate():
    shaped = lane(rate=125e3)
    for n in range(100):
        shaped.accept(b"%d" % n, 1500, now=0.0)
    first, *_, last = (at for at, _ in arrivals(shaped))
    assert abs(99 * 1500 / (last - first) / 125e3 - 1) < 1e-9


def test_what_would_wait_longer_than_the_queue_holds_is_dropped():
    shaped = lane(queue_s=0.0105)
    for _ in range(20):
        shaped.accept(b"x", 1000, now=0.0)
    # One is being serialized at every time up to 10 ms, which the last one still waits.
    assert len(arrivals(shaped)) == 11


def test_lanes_of_one_medium_never_overlap():
    medium = Medium()
    there, back = lane(medium), lane(medium)
    there.accept(b"there", 1000, now=0.0)
    back.accept(b"back", 1000, now=0.0)
    assert there.next_at() == 0.011
    assert back.next_at() == 0.012


def test_a_cut_loses_what_is_under_way_and_what_comes():
    shaped = lane()
    shaped.accept(b"under way", 1000, now=0.0)
    shaped.stop()
    shaped.accept(b"late", 1000, now=0.1)
    assert arrivals(shaped) == []


def test_the_queue_holds_a_round_trip_at_least_100_ms_and_64_packets():
    def queue_s(rate, round_trip_s):
        spec = LaneSpec(source="a", target="b", bytes_per_s=rate, latency_s=0.0, medium="m")
        return make_lane(spec, Medium(), round_trip_s).queue_s

    assert queue_s(1e8, 0.5) == 0.5
    assert queue_s(1e8, 0.01) == 0.1
    assert queue_s(125e3, 0.01) == 64 * 1500 / 125e3
