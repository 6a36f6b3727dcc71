"""A plan says where its radios rest longer than was counted on."""

from __future__ import annotations

import msgspec
import pytest

from placer.build import build
from placer.costs import CostTable
from placer.models.join_stages import join_stages
from placer.report.notes import notes
from placer.solver.solve import solve
from profiles import Link, LinkProfile
from tests.placer.test_build import costs, graph, site
from tests.profiles.build import figure


def told(seldom_hz: float, often_hz: float, *, away: bool) -> list[str]:
    """Two flows of a camera: only the server, behind a radio, can run the seldom one, and the other one if `away`."""
    where = site()
    (watch,) = where.flows
    flows = tuple(
        msgspec.structs.replace(watch, name=name, rate_hz=rate, deadline_s=None, label="public")
        for name, rate in (("often", often_hz), ("seldom", seldom_hz))
    )
    radio = LinkProfile(
        id="r", name="r", ends="client", rate="payload", tx_j_per_byte=figure(1.0), rx_j_per_byte=figure(1.0),
        tail_s=figure(10.0), tail_w=figure(1.0), wake_s=figure(0.2), wake_j=figure(0.5),
    )  # fmt: skip
    links = tuple(
        Link(source=a, target=b, profile=radio, direction=way, bandwidth_bps=8e6, latency_s=0.001)
        for a, b, way in (("camera", "server", "up"), ("server", "camera", "down"))
    )
    whole = site(links=links, flows=flows)
    graphs = {f.name: join_stages(f, {"net": graph()}) for f in flows}
    runs = {name: "server" if away or name == "seldom" else "camera" for name in graphs}
    tables = {
        name: {"net": CostTable(rows={key: cost for key, cost in costs().rows.items() if key[1] == runs[name]})}
        for name in graphs
    }
    plan = solve(build(whole, graphs, tables).problem)
    return [note for note in notes(plan, whole) if "tail" in note]


def test_a_flow_that_is_served_at_home_keeps_no_radio_awake():
    (note,) = told(0.05, 2.0, away=False)
    assert "is passed every 20 s, and was taken to be every 487.8 ms" in note
    assert "a tail there takes 10 J, not 487.8 mJ" in note
    assert "500 mJ and 200 ms more, which no deadline here counts" in note
    assert "So it is with 1 more of its links." in note


@pytest.mark.parametrize(("seldom_hz", "often_hz", "away"), [(0.05, 2.0, True), (2.0, 0.001, False)])
def test_where_the_flows_pass_that_were_counted_on_nothing_is_told(seldom_hz, often_hz, away):
    assert told(seldom_hz, often_hz, away=away) == []
