"""The `placer catalog` commands: what the product knows of devices, links, networks, facilities and grids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from placer.cli.agents import Json
from profiles.errors import choices, not_in_catalog

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from placer.cli.terminal import Terminal
    from profiles import Catalog, DeviceProfile, Figure, LinkProfile
    from profiles.catalog import Facility, Network, Region

catalog = typer.Typer(no_args_is_help=True, help="Look up sourced figures of devices, links, networks and grids.")

_KWH_J = 3.6e6


@catalog.command("list")
def list_command(
    context: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(help="Only entries in which all these words occur.")] = None,
    json: Json = False,
) -> None:
    """List devices, links, networks, facilities and grids, all or those that fit some words."""
    from profiles import Catalog, DeviceProfile, LinkProfile
    from profiles.catalog import Facility, Network, Region

    terminal: Terminal = context.obj
    whole, text = Catalog.load(), " ".join(words or [])
    found = whole.search(text)
    devices = [p for p in found if isinstance(p, DeviceProfile)]
    links = [p for p in found if isinstance(p, LinkProfile)]
    networks = [p for p in found if isinstance(p, Network)]
    facilities = [p for p in found if isinstance(p, Facility)]
    regions = [p for p in found if isinstance(p, Region)]
    if json:
        terminal.json(
            {"devices": devices, "links": links, "networks": networks, "facilities": facilities, "regions": regions}
        )
        return
    if not found:
        terminal.show(
            f"Nothing in the catalog has {text!r}; {choices(text, (e.id for e in whole.search('')), limit=3)}."
        )
        return
    tables = (_devices(devices), _links(links), _networks(networks), _facilities(facilities), _regions(regions))
    terminal.show(*(table for table in tables if table.row_count), "Show one with its sources: placer catalog show ID")


@catalog.command("show")
def show_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="A device, link, network, facility or region.")],
    json: Json = False,
) -> None:
    """Show every figure of one entry, with its source and uncertainty."""
    from profiles import Catalog

    terminal: Terminal = context.obj
    whole = Catalog.load()
    entry = _entry(whole, name)
    figures = list(_figures(entry, ""))
    used = {s: whole.sources[s] for _, figure in figures for s in figure.source.split(", ")}
    if json:
        terminal.json({"entry": entry, "sources": used})
        return
    table = Table(title=f"{entry.id}: {entry.name}", title_justify="left", title_style="bold")
    for column in ("figure", "value", "origin", "+-", "source", "note"):
        table.add_column(column, justify="right" if column in ("value", "+-") else "left", overflow="fold")
    for path, figure in figures:
        spread = "" if figure.relative_uncertainty is None else f"{figure.relative_uncertainty:.1%}"
        table.add_row(path, f"{figure.value:.6g}", figure.origin, spread, figure.source, figure.note)
    terminal.show(table)
    if getattr(entry, "note", ""):
        terminal.show(entry.note)
    for key, source in used.items():
        terminal.show(f"{key}: {source.title}, {source.author}, {source.year or 'no year'}. {source.where}")


def _entry(whole: Catalog, name: str) -> Any:
    entries: dict[str, Any] = {p.id: p for p in whole.search("")}
    if name not in entries:
        raise not_in_catalog("entry", name, entries)
    return entries[name]


def _figures(value: Any, path: str) -> Iterator[tuple[str, Figure]]:
    """Walk an entry for its figures, with their paths."""
    from profiles import Figure

    if isinstance(value, Figure):
        yield path, value
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            label = getattr(item, "name", None) or getattr(item, "model", index)
            yield from _figures(item, f"{path}.{label}")
    elif hasattr(value, "__struct_fields__"):
        for field in value.__struct_fields__:
            yield from _figures(getattr(value, field), f"{path}.{field}".lstrip("."))


def _listed(entries: Sequence[object], one: str, many: str, *columns: str, right: Collection[str] = ()) -> Table:
    """Make a table of entries, yet without rows, whose first column is the id and is never broken."""
    count = len(entries)
    table = Table(title=f"{count} {one if count == 1 else many}", title_justify="left", title_style="bold")
    for column in ("id", "name", *columns):
        table.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column == "id"
        )
    return table


def _networks(networks: list[Network]) -> Table:
    table = _listed(networks, "network", "networks", "kind", "J per MB", right=("J per MB",))
    for n in networks:
        table.add_row(n.id, n.name, n.kind, f"{n.j_per_byte.value * 1e6:.4g}")
    return table


def _facilities(facilities: list[Facility]) -> Table:
    table = _listed(facilities, "facility", "facilities", "PUE", right=("PUE",))
    for f in facilities:
        table.add_row(f.id, f.name, f"{f.pue.value:.4g}")
    return table


def _devices(devices: list[DeviceProfile]) -> Table:
    table = _listed(devices, "device", "devices", "tier", "boundary", "idle W", "modes", right=("idle W",))
    for d in devices:
        idle = "-" if d.idle_w is None else f"{d.idle_w.value:.3g}"
        table.add_row(d.id, d.name, d.tier, d.boundary, idle, ", ".join(m.name for m in d.modes))
    return table


def _links(links: list[LinkProfile]) -> Table:
    rates = ("Mbit/s up", "Mbit/s down")
    table = _listed(links, "link", "links", *rates, right=rates)
    for k in links:
        found = [k.bandwidth_bps("up"), k.bandwidth_bps("down")]
        table.add_row(k.id, k.name, *("-" if r is None else f"{r.value / 1e6:.4g}" for r in found))
    return table


def _regions(regions: list[Region]) -> Table:
    table = _listed(regions, "grid", "grids", "g CO2e per kWh", "by hour", right=("g CO2e per kWh",))
    for r in regions:
        hours = [figure.value * _KWH_J for figure in r.hourly_g_per_j]
        spread = f"{min(hours):.4g} to {max(hours):.4g}" if hours else "-"
        table.add_row(r.id, r.name, f"{r.g_per_j.value * _KWH_J:.4g}", spread)
    return table
