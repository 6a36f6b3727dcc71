import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import DeviceProfile, Figure, Mode, ProfileError, read_site
from profiles.op_costs import ANY_KIND, KindCost, ModelCost, OpCosts
from profiles.profile_file import encode_profile, read_profile


def figure(value):
    return Figure(value=value, source="a test", origin="measured", relative_uncertainty=0.1)


def profile(seconds, name="box"):
    costs = OpCosts(
        source="a test",
        s_per_boundary_byte=1e-10,
        models=(ModelCost(name="m", sha256="12e34", inputs={"x": (1, 3)}, seconds=seconds, relative_error=0.01),),
        kinds=(KindCost(kind=ANY_KIND, base_s=1e-6, s_per_mac=1e-11, s_per_byte=0.0),),
    )
    mode = Mode(
        name="cpu-fp32-1t", numeric="fp32", active_w=figure(5.0), segment_s=figure(1e-5), s_per_mac=figure(1e-11),
        threads=1, op_costs=costs,
    )  # fmt: skip
    return DeviceProfile(
        id="box", name=name, tier="edge", boundary="wall", idle_w=figure(2.0), modes=(mode,), note="measured"
    )


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1) | st.sampled_from(
    ["1e5", "no", "null", "~", "12:30", "0x1f", "1_000", "- a", "a: b", "#", ".inf", "<<", "y", "true"]
)


@given(st.dictionaries(names, st.floats(0, 1e3).map(lambda s: float(f"{s:.6g}"))))
def test_what_is_written_is_read(tmp_path_factory, seconds):
    path = tmp_path_factory.mktemp("profile") / "box.yaml"
    path.write_bytes(encode_profile(profile(seconds)))
    assert read_profile(path, DeviceProfile) == profile(seconds)


def test_a_file_that_is_wrong_says_where(tmp_path):
    path = tmp_path / "box.yaml"
    text = encode_profile(profile({})).decode()
    path.write_text(text.replace("tier: edge", "tier: egde"))
    with pytest.raises(ProfileError, match=r"box\.yaml: tier: 'egde' is not allowed; did you mean 'edge'"):
        read_profile(path, DeviceProfile)
    path.write_text(text.replace("value: 2.0", "value: -2.0"))
    with pytest.raises(ProfileError, match=r"box\.yaml: idle_w: -2\.0 is no figure"):
        read_profile(path, DeviceProfile)
    path.write_text(text.replace("kind: any", "kind: Conv"))
    with pytest.raises(ProfileError, match="kinds has no 'any'"):
        read_profile(path, DeviceProfile)


def test_a_site_s_time_factor_multiplies_all_seconds_and_no_watts(tmp_path):
    (tmp_path / "box.yaml").write_bytes(encode_profile(profile({"conv": 0.5})))
    site = """\
format: placer.site/1.0
name: bench
labels: [anything]
zones: [{name: bench, sees: anything, region: here}]
devices:
  - name: box
    profile: box.yaml
    zone: bench
    modes: [{name: cpu-fp32-1t, time_factor: {value: 3, source: seen, origin: fitted, relative_uncertainty: 0.05}}]
"""
    (tmp_path / "site.yaml").write_text(site)
    (mode,) = read_site(tmp_path / "site.yaml").devices[0].modes
    (before,) = profile({"conv": 0.5}).modes
    assert (mode.segment_s.value, mode.s_per_mac.value) == pytest.approx((3e-5, 3e-11))
    assert mode.s_per_mac.relative_uncertainty == 0.05
    assert mode.active_w == before.active_w
    assert mode.op_costs.source == "a test, seen"
    assert mode.op_costs.s_per_boundary_byte == pytest.approx(3e-10)
    assert mode.op_costs.model("12e34", {"x": (1, 3)}).seconds == {"conv": 1.5}
    assert mode.op_costs.kind("Conv").seconds(1e6, 1.0) == pytest.approx(
        3 * before.op_costs.kind("Conv").seconds(1e6, 1.0)
    )
    (tmp_path / "site.yaml").write_text(site.replace("value: 3", "value: 0"))
    with pytest.raises(ProfileError, match=r"modes\[0\]\.time_factor: time_factor is 0"):
        read_site(tmp_path / "site.yaml")
