import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placer.measuring.profile_fit import Timed, TimedModel, fit_kinds, fit_segments, held_out_errors, unseen_errors
from placer.measuring.units import Unit, random_cuts, windows
from profiles.op_costs import ANY_KIND

START_S, S_PER_BYTE = 4e-5, 1e-10


def unit(kind, macs, size_bytes, name):
    return Unit(ops=(name,), kind=kind, macs=macs, bytes=size_bytes, boundary_bytes=size_bytes)


def model(name, units, unit_s, *, noise=None, alone_factor=1.0):
    """Time a model whose truth is known; units alone may take longer than among their neighbours."""
    bytes_at = [0.0, *np.linspace(4e5, 1e5, len(units) - 1), 0.0]
    segments = []
    known = [((0, len(units)),), *windows(len(units))]
    partitions = [*known, *random_cuts(len(units), 12, 1)]
    cuts = frozenset(range(len(known), len(partitions)))
    for place, spans in enumerate(partitions):
        for first, last in spans:
            boundary = int(bytes_at[first] + bytes_at[last])
            factor = alone_factor if last == first + 1 else 1.0
            seconds = factor * sum(unit_s[first:last]) + START_S + S_PER_BYTE * boundary
            if noise is not None:
                seconds *= 1 + noise.uniform(-0.02, 0.02)
            segments.append(Timed(partition=place, span=(first, last), boundary_bytes=boundary, seconds=seconds))
    return TimedModel(name=name, units=tuple(units), segments=tuple(segments), cuts=cuts)


def units_and_seconds(seed, count=20):
    rng = np.random.default_rng(seed)
    units, seconds = [], []
    for place in range(count):
        macs, size_bytes = int(rng.integers(1e5, 5e7)), int(rng.integers(1e4, 1e6))
        dense = place % 2 == 0
        units.append(unit("Conv" if dense else "Conv grouped", macs, size_bytes, f"op{place}"))
        seconds.append(5e-6 + (2e-11 if dense else 8e-11) * macs + 1e-10 * size_bytes)
    return units, seconds


def test_what_was_put_in_is_found():
    units, seconds = units_and_seconds(0)
    shared, (found,) = fit_segments([model("m", units, seconds)])
    assert shared.start_s == pytest.approx(START_S, rel=0.1)
    assert shared.s_per_byte == pytest.approx(S_PER_BYTE, rel=0.1)
    assert found == pytest.approx(seconds, rel=0.05)


def test_units_that_are_slower_alone_are_corrected_by_the_cuts():
    units, seconds = units_and_seconds(1)
    timed = model("m", units, seconds, alone_factor=1.6)
    shared, (found,) = fit_segments([timed])
    whole = timed.segments[0]
    assert shared.seconds(found, whole.span, whole.boundary_bytes) == pytest.approx(whole.seconds, rel=0.02)
    assert found == pytest.approx(seconds, rel=0.15)


@given(st.integers(0, 20))
def test_noise_of_two_percent_leaves_unseen_cuts_within_three(seed):
    units, seconds = units_and_seconds(seed)
    timed = model("m", units, seconds, noise=np.random.default_rng(seed))
    shared, _ = fit_segments([timed])
    errors = held_out_errors(timed, shared)
    assert len(errors) == len(timed.cuts) >= 8
    assert np.mean(errors) < 0.03


def test_held_out_cuts_are_not_used():
    units, seconds = units_and_seconds(2)
    timed = model("m", units, seconds)
    shared, _ = fit_segments([timed])
    spoiled = TimedModel(
        name="m",
        units=timed.units,
        cuts=timed.cuts,
        segments=tuple(
            Timed(partition=s.partition, span=s.span, boundary_bytes=s.boundary_bytes, seconds=2 * s.seconds)
            if s.partition == max(timed.cuts)
            else s
            for s in timed.segments
        ),
    )
    # Had the fit seen the cut that takes twice as long, it would miss it by less than half.
    assert max(held_out_errors(spoiled, shared)) == pytest.approx(0.5, abs=0.05)


def test_kinds_carry_over_to_a_model_that_nobody_ran():
    models = [model(str(seed), *units_and_seconds(seed)) for seed in range(3)]
    _, unit_s = fit_segments(models)
    kinds = {each.kind: each for each in fit_kinds(models, unit_s)}
    assert set(kinds) == {ANY_KIND, "Conv", "Conv grouped"}
    assert kinds["Conv grouped"].s_per_mac == pytest.approx(8e-11, rel=0.1)
    assert max(unseen_errors(models)) < 0.05
    assert unseen_errors(models[:1]) == ()


def test_a_model_of_one_unit_is_its_whole():
    timed = TimedModel(
        name="m",
        units=(unit("Conv", 10, 10, "op"),),
        segments=(Timed(partition=0, span=(0, 1), boundary_bytes=100, seconds=1e-3),),
        cuts=frozenset(),
    )
    shared, (found,) = fit_segments([timed])
    assert shared.seconds(found, (0, 1), 100) == pytest.approx(1e-3, rel=0.05)
    assert held_out_errors(timed, shared) == ()
