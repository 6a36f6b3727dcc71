import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from profiles import Catalog, Direction, read_site
from profiles.energy import missing_figures
from profiles.flow import Flow
from profiles.label import Declassify, RegionRule
from profiles.limits import Limits
from profiles.site_entries import DeviceEntry, FigureEntry, LinkEntry, ModeEntry, SiteFile, ZoneEntry
from profiles.stage import Cache, Stage, When

DOCS = Path(__file__).parents[2] / "docs"
FORMAT = (DOCS / "site-format.md").read_text(encoding="utf-8")


KINDS = (
    SiteFile, Limits, FigureEntry, ZoneEntry, DeviceEntry, ModeEntry, LinkEntry, RegionRule,
    Flow, Stage, When, Cache, Declassify,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_site_is_documented(kind: type) -> None:
    for name in kind.__struct_encode_fields__:  # type: ignore[attr-defined]
        assert re.search(rf"\b{name}\b", FORMAT), f"{kind.__name__}.{name}"


def test_no_field_is_documented_that_does_not_exist() -> None:
    known = {name for kind in KINDS for name in kind.__struct_encode_fields__}
    rows = [line.split("|")[1] for line in FORMAT.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented <= known


def test_the_example_is_a_site(tmp_path: Path) -> None:
    example, stages = re.findall(r"```yaml\n(.*?)```", FORMAT, flags=re.DOTALL)
    path = tmp_path / "site.yaml"
    path.write_text(example, encoding="utf-8")
    assert len(read_site(path).links) == 4
    before, _, _ = example.partition("flows:\n")
    path.write_text(before + stages.replace("archive", "gpu"), encoding="utf-8")
    (flow,) = read_site(path).flows
    assert [stage.name for stage in flow.stages] == ["shrink", "gate", "classify"]


def test_the_catalog_page_shows_the_catalog() -> None:
    catalog = Catalog.load()
    rows = [*_device_rows(catalog), *_link_rows(catalog), *_network_rows(catalog)]
    page = (DOCS / "catalog.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows


def _device_rows(catalog: Catalog) -> Iterator[str]:
    for device in catalog.devices():
        idle = "site" if device.idle_w is None else f"{device.idle_w.value:.3g}"
        for mode in device.modes:
            error = mode.s_per_mac.relative_uncertainty
            figures = (mode.active_w.value, mode.segment_s.value, mode.s_per_mac.value)
            cells = [f"`{device.id}`", device.tier, device.boundary, idle, mode.name]
            cells += [*(f"{figure:.3g}" for figure in figures), "" if error is None else f"{error:.0%}"]
            yield f"| {' | '.join(cells)} |"


def _link_rows(catalog: Catalog) -> Iterator[str]:
    ways: tuple[Direction, ...] = ("up", "down")
    for link in catalog.links():
        timing = ("bandwidth_up_bps", "bandwidth_down_bps", "latency_s")
        needs = [name for name in timing if getattr(link, name) is None]
        energy = [missing[0] for way in ways if (missing := missing_figures(link, way)) is not None]
        yield f"| `{link.id}` | {link.ends} | {', '.join(f'`{name}`' for name in dict.fromkeys(needs + energy))} |"


def _network_rows(catalog: Catalog) -> Iterator[str]:
    for network in catalog.networks:
        yield f"| `{network.id}` | {network.kind} | {network.j_per_byte.value:.3g} | {network.name} |"
