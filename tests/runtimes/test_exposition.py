"""Prometheus' text format, as its own parser reads it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from runtimes.exposition import Page, labels


def read(page: Page) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(page.text()):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return samples


@given(
    st.text(alphabet=st.characters(exclude_categories=("Cs",))),
    st.floats(allow_nan=False) | st.integers(-(10**30), 10**30),
)
def test_any_label_and_number_comes_back(label, value):
    page = Page()
    page.write("m_total", "counter", "Help.", [(labels({"a": label, "b": "x"}), value), ((), 1)])
    found = read(page)["m_total"]
    assert math.isclose(found[("a", label), ("b", "x")], value, rel_tol=1e-12)
    assert found[()] == 1


def test_a_surrogate_does_not_end_the_page():
    page = Page()
    page.write("m", "gauge", "Help.", [(labels({"a": "\ud800"}), 1)])
    assert page.text().encode()


def test_a_histogram_is_cumulative_and_ends_at_infinity():
    page = Page()
    page.write_histogram("h", "Help.", (0.1, 1.0), [(labels({"a": "x"}), [1, 2, 3], 7.5)])
    found = read(page)
    assert [found["h_bucket"][("a", "x"), ("le", le)] for le in ("0.1", "1", "+Inf")] == [1, 3, 6]
    assert found["h_sum"][("a", "x"),] == 7.5
    assert found["h_count"][("a", "x"),] == 6


def test_a_metric_without_samples_is_left_out():
    page = Page()
    page.write("m", "gauge", "Help.", [])
    assert page.text() == ""
