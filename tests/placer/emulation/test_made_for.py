"""That a plan is told from one of another site, by names and by numbers."""

from __future__ import annotations

import onnx
import pytest

from placer.emulation.made_for import check_made_for
from placer.errors import ProblemError
from placer.plan import decode_plan, encode_plan
from placer.planning import plan_site
from profiles import read_site
from tests.e2e.desk import SITE, small_model


@pytest.fixture
def check(tmp_path):
    """Plan the desk's site, change its file, and compare."""
    path = tmp_path / "site.yaml"
    onnx.save(small_model(), tmp_path / "model.onnx")

    def done(*changes, before=SITE):
        path.write_text(before)
        plan = decode_plan(encode_plan(plan_site(path)))
        text = before
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)
        check_made_for(read_site(path), plan, path)

    return done


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("rate_hz: 2", "rate_hz: 5", "flows look rate_hz is 2 in the plan and 5 in the site"),
        ("0.0003,", "0.0003, bandwidth_up_bps: 1e6,", "links camera->box bytes_per_s is 1.2"),
        ("deadline_s: 1", "deadline_s: 2", "flows look deadline_s is 1 in the plan and 2 in the site"),
        ("memory_bytes: 4e9", "always_on: false", "devices box memory_bytes is in the plan only"),
        ("name: box, profile: firefly_armnn_v22_11_opencl", "name: box, profile: rpi4b_armnn", "devices box"),
        ("links:", "  - {name: new, profile: rpi4b_armnn, zone: floor}\nlinks:", "devices new is in the site only"),
    ],
)
def test_what_differs_is_said_and_what_to_do(check, old, new, words):
    with pytest.raises(ProblemError, match=r"site\.yaml: the plan was not made for this site") as refused:
        check((old, new))
    assert words in str(refused.value)
    assert "run `placer plan " in str(refused.value)


def test_a_plan_of_the_same_site_passes_even_where_its_words_are_others(check):
    check()
    check(("name: bench", "name: other bench"))


def test_measured_seconds_are_not_compared_and_all_else_is(check):
    measured = SITE.replace("zone: floor, memory_bytes: 4e9", "zone: floor, memory_bytes: 4e9, costs: measured")
    assert measured != SITE
    check(before=measured)
    with pytest.raises(ProblemError, match="rate_hz is 2 in the plan and 3"):
        check(("rate_hz: 2", "rate_hz: 3"), before=measured)
