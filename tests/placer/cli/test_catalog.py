"""Every entry of the catalog can be shown, with the source of each of its figures."""

from __future__ import annotations

import pytest

from placer.cli.catalog import _entry, _figures
from profiles import Catalog, CatalogError

CATALOG = Catalog.load()
IDS = [p.id for p in CATALOG.search("")]


def test_ids_are_unique_over_all_kinds():
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("name", IDS)
def test_every_figure_has_a_path_and_a_known_source(name):
    figures = list(_figures(_entry(CATALOG, name), ""))
    assert figures
    assert len({path for path, _ in figures}) == len(figures)
    for _, figure in figures:
        assert all(source in CATALOG.sources for source in figure.source.split(", "))


def test_an_unknown_id_is_answered_with_a_near_one():
    with pytest.raises(CatalogError, match=r"did you mean 'ble_1m_nrf52840'\?.*`placer catalog list` shows all"):
        _entry(CATALOG, "ble_1m_nrf5284")
