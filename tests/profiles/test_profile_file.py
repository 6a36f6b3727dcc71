"""Profiles beside a site: written and read back equal, used like the catalog's, refused with the file and the field."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import Catalog, DeviceProfile, Figure, LinkProfile, ProfileError, SiteError, read_site
from profiles.profile_file import encode_profile, read_profile
from profiles.strict_yaml import dump_yaml, parse_yaml
from tests.profiles.test_site import SITE

CATALOG = Catalog.load()
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=8)
    | st.sampled_from(["no", "1e5", "0x1f", "1_000", "12:30", "~", "null", "<<", ".inf", "true", "-", "a: b", "# c"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(VALUES)
def test_yaml_is_read_back_as_it_was_written(value: object) -> None:
    assert parse_yaml(dump_yaml(value), "here", ProfileError) == value


def test_every_profile_of_the_catalog_is_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    for device in CATALOG.devices():
        path.write_bytes(encode_profile(device))
        assert read_profile(path, DeviceProfile) == device
    for link in CATALOG.links():
        path.write_bytes(encode_profile(link))
        assert read_profile(path, LinkProfile) == link


def test_numbers_are_written_with_the_digits_that_were_measured(tmp_path: Path) -> None:
    def figure(value: float) -> Figure:
        return Figure(value=value, source="s", origin="measured", relative_uncertainty=1 / 3)

    wire = LinkProfile(
        id="w", name="w", ends="none", latency_s=figure(0.0012345678901234567), bandwidth_up_bps=figure(987654321.0)
    )
    text = encode_profile(wire).decode()
    assert not re.search(r"\.\d{9}", text)
    (tmp_path / "w.yaml").write_text(text, encoding="utf-8")
    read = read_profile(tmp_path / "w.yaml", LinkProfile)
    assert read.latency_s == msgspec.structs.replace(figure(0.00123457), relative_uncertainty=0.333333)
    assert read.bandwidth_up_bps is not None
    assert read.bandwidth_up_bps.value == 987654321


def test_a_site_names_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "camera.yaml").write_bytes(encode_profile(CATALOG.device("rpi4b_armnn")))
    (tmp_path / "wire.yaml").write_bytes(encode_profile(CATALOG.link("ethernet_1g")))
    path = tmp_path / "site.yaml"
    path.write_text(SITE, encoding="utf-8")
    expected = read_site(path)
    path.write_text(SITE.replace("rpi4b_armnn", "camera.yaml").replace("ethernet_1g", "wire.yaml"), encoding="utf-8")
    assert read_site(path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"site\.yaml: links\[0\]\.profile: .*wire\.yaml: cannot be read"),
        ("id: w\nname: W\n", r"wire\.yaml: field 'ends' is missing"),
        ("id: w\nname: W\nends: none\nlatency: {value: 1}\n", r"wire\.yaml: .*'latency'"),
        ("id: w\nname: W\nends: none\nlatency_s: {value: 1, origin: spec}\n", r"latency_s: field 'source' is missing"),
    ],
)
def test_a_file_that_does_not_hold_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "wire.yaml").write_text(text, encoding="utf-8")
    path = tmp_path / "site.yaml"
    path.write_text(SITE.replace("ethernet_1g", "wire.yaml"), encoding="utf-8")
    with pytest.raises(SiteError, match=message):
        read_site(path)
