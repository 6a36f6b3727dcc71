from statistics import median

import msgspec
import pytest

from profiles import Catalog, DeviceProfile, Figure, Mode, ProfileError, SiteError, read_site
from profiles.device import Benchmark
from profiles.op_costs import ANY_KIND, KindCost, ModelCost, OpCosts
from profiles.profile_file import encode_profile
from profiles.seconds_like import LIKE_RELATIVE_ERROR, seconds_like

SITE = """\
format: placer.site/1.0
name: bench
labels: [anything]
zones: [{name: bench, sees: anything, region: here}]
devices:
  - {name: pi, profile: rpi4b_tflite, zone: bench, seconds_like: box.yaml%s}
"""
WHOLE = ((1e3, 1.0), (3e3, 1.0), (4e3, 1.0))


def figure(value, origin="measured", source="a test"):
    return Figure(value=value, source=source, origin=origin)


def lines(numeric="fp32", origin="fitted"):
    """Return the modes of a device that is known by a line: 1 s and 1 ms for each MAC."""
    made = Mode(
        name=f"cpu-{numeric}", numeric=numeric, active_w=figure(5.0), segment_s=figure(1.0, "fitted"),
        s_per_mac=figure(1e-3, origin, "paper"),
    )  # fmt: skip
    return (made,)


def box(*, names=("cpu-fp32-1t",), whole=WHOLE):
    """Return a device that was profiled with some whole models, of a second each unless said otherwise."""
    costs = OpCosts(
        source="the box",
        s_per_boundary_byte=1e-10,
        models=(ModelCost(name="m", sha256="12", inputs={"x": (1,)}, seconds={"conv": 0.5}, relative_error=0.02),),
        kinds=(KindCost(kind=ANY_KIND, base_s=0.0, s_per_mac=1e-6, s_per_byte=0.0),),
        unseen_relative_error=0.3,
    )
    modes = tuple(
        Mode(
            name=name, numeric="fp32", active_w=figure(5.0), segment_s=figure(0.1, "fitted"), s_per_mac=figure(1e-4),
            threads=1, op_costs=costs,
        )
        for name in names
    )  # fmt: skip
    return DeviceProfile(
        id="box", name="box", tier="edge", boundary="wall", idle_w=figure(2.0), modes=modes,
        benchmarks=tuple(
            Benchmark(model=f"m{number}", mode=names[0], macs=macs, seconds=figure(seconds), power_w=figure(5.0))
            for number, (macs, seconds) in enumerate(whole)
        ),
    )  # fmt: skip


def test_ops_keep_their_proportions_at_the_level_of_the_device_s_own_line():
    (found,) = seconds_like(lines(), box())
    # The line says 2, 4 and 5 s of what takes a second each on the box.
    assert found.op_costs.models[0].seconds == {"conv": pytest.approx(2.0)}
    assert found.op_costs.s_per_boundary_byte == pytest.approx(4e-10)
    assert found.op_costs.kind("Conv").seconds(1e6, 0) == pytest.approx(4.0)
    assert found.segment_s.value == pytest.approx(0.4)
    assert found.segment_s.relative_uncertainty == LIKE_RELATIVE_ERROR
    assert found.segment_s.source == "the box, paper"
    assert found.op_costs.scale_relative_error == LIKE_RELATIVE_ERROR
    assert (found.threads, found.active_w, found.s_per_mac) == (None, lines()[0].active_w, lines()[0].s_per_mac)


@pytest.mark.parametrize(("given", "origin"), [("measured", "fitted"), ("fitted", "fitted"), ("declared", "declared")])
def test_what_was_measured_elsewhere_is_no_measurement(given, origin):
    (found,) = seconds_like(lines(origin=given), box())
    assert (found.op_costs.origin, found.segment_s.origin) == (origin, origin)


def test_a_format_that_was_not_measured_keeps_its_line():
    both = (*lines(), *lines("int8"))
    found = seconds_like(both, box())
    assert found[1] == both[1]
    assert found[0] != both[0]


@pytest.mark.parametrize(
    ("modes", "other", "words"),
    [
        (lines("int8"), box(), "'box' was measured op by op in fp32, this device computes in int8"),
        (lines(), box(names=("cpu-fp32-1t", "cpu-fp32-2t")), "both fp32: profile it with one number of threads"),
        (lines(), box(whole=WHOLE[:2]), "with 2 whole models in .* profile 3 or more of fp32 there"),
        (lines(), box(whole=WHOLE[:1]), "with 1 whole model in"),
        (box().modes, box(), "'cpu-fp32-1t' was measured op by op itself: leave seconds_like out"),
        (lines(), Catalog.load().device("rpi4b_tflite"), "'rpi4b_tflite' was not measured op by op"),
    ],
)
def test_what_cannot_stand_for_the_device_is_refused(modes, other, words):
    with pytest.raises(ProfileError, match=words):
        seconds_like(modes, other)


def test_a_site_names_the_file_and_its_time_factor_holds_for_what_comes_of_it(tmp_path):
    (tmp_path / "box.yaml").write_bytes(encode_profile(box()))
    read = []
    for more in ("", ", modes: [{name: cpu-fp32, time_factor: 3}]"):
        (tmp_path / "site.yaml").write_text(SITE % more)
        read.append(read_site(tmp_path / "site.yaml").devices[0].modes[0])
    plain, slow = read
    (line,) = (mode for mode in Catalog.load().device("rpi4b_tflite").modes if mode.name == "cpu-fp32")
    level = median(line.segment_s.value + line.s_per_mac.value * macs for macs, _ in WHOLE)
    assert plain.op_costs.models[0].seconds["conv"] == pytest.approx(0.5 * level)
    assert slow.op_costs.models[0].seconds["conv"] == pytest.approx(1.5 * level)
    assert slow.segment_s.value == pytest.approx(3 * plain.segment_s.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (", costs: measured", "devices\\[0\\].seconds_like: .* give `costs: measured` or `seconds_like`"),
        (", modes: [{name: cpu-int8}]", "devices\\[0\\].seconds_like: 'box' was measured op by op in fp32"),
    ],
)
def test_a_site_that_contradicts_itself_is_refused(tmp_path, more, words):
    (tmp_path / "box.yaml").write_bytes(encode_profile(box()))
    (tmp_path / "site.yaml").write_text(SITE % more)
    with pytest.raises(SiteError, match=words):
        read_site(tmp_path / "site.yaml")


def test_a_site_names_a_file(tmp_path):
    (tmp_path / "site.yaml").write_text((SITE % "").replace("box.yaml", "rpi4b_armnn"))
    with pytest.raises(SiteError, match=r"'rpi4b_armnn' is no file beside the site that ends in \.yaml"):
        read_site(tmp_path / "site.yaml")


def test_the_error_of_the_scale_survives_a_file(tmp_path):
    (mode,) = seconds_like(lines(), box())
    text = msgspec.json.encode(mode.op_costs)
    assert msgspec.json.decode(text, type=OpCosts) == mode.op_costs
    with pytest.raises(msgspec.ValidationError, match="scale_relative_error"):
        msgspec.json.decode(text.replace(b'"scale_relative_error":0.27', b'"scale_relative_error":-1'), type=OpCosts)
