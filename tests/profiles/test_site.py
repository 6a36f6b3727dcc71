import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from profiles import Site, SiteError, read_site
from profiles.energy import at_rate, transfer_cost

SITE = """\
format: placer.site/1.0
name: inspection line
labels: [public, features, personal]
rules:
  - {name: images stay in the eu, label: personal, regions: [eu]}
zones:
  - {name: floor, sees: personal, region: eu}
  - {name: cloud, sees: features, region: eu}
  - {name: abroad, sees: personal, region: us}
devices:
  - {name: camera, profile: rpi4b_armnn, zone: floor, memory_bytes: 4e9, agent: "127.0.0.1:9001"}
  - {name: box, profile: xavier_power_0_fan_cool_tflite_v2_7_1_ruy, zone: floor}
  - {name: gpu, profile: server_a30x1, zone: cloud, pue: 1.1, always_on: false}
links:
  - {from: camera, to: box, profile: ethernet_1g, latency_s: 0.0005, both_ways: true}
  - {from: box, to: gpu, profile: lte_phone_2012, latency_s: 0.03, both_ways: true}
flows:
  - name: inspect
    source: camera
    sink: camera
    rate_hz: 2
    deadline_s: 0.25
    label: personal
    stages:
      - name: orientation
        model: orientation.onnx
        inputs: {x: [1, 3, 224, 224]}
        declassify: [{name: features are no images, tensor: relu_5, to: features}]
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def read(tmp_path: Path, text: str) -> Site:
    return read_site(write(tmp_path, text))


def edit(tmp_path: Path, path: str, value: Any) -> Path:
    """Write the site with one field changed: `devices.1.profile`, or removed where the value is ...."""
    raw: Any = yaml.safe_load(SITE)
    steps = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = raw
    for step in steps[:-1]:
        place = place[step]
    if value is ...:
        del place[steps[-1]]
    elif isinstance(place, list) and steps[-1] == len(place):
        place.append(value)
    else:
        place[steps[-1]] = value
    return write(tmp_path, yaml.safe_dump(raw))


def test_a_site_is_read_and_resolved(tmp_path: Path) -> None:
    site = read(tmp_path, SITE)
    camera, box, gpu = site.devices
    assert (camera.name, camera.zone, camera.tier, camera.boundary) == ("camera", "floor", "edge", "wall")
    assert camera.memory_bytes == 4e9
    assert camera.always_on
    assert [mode.name for mode in box.modes] == ["cpu-fp32", "cpu-int8"]
    assert (gpu.pue, gpu.always_on, gpu.boundary) == (1.1, False, "node")
    assert site.directory == tmp_path.resolve()
    assert site.flows[0].stages[0].inputs == {"x": (1, 3, 224, 224)}
    assert site.device("box") is box


def test_a_link_of_both_ways_makes_two(tmp_path: Path) -> None:
    site = read(tmp_path, SITE)
    assert len(site.links) == 4
    up, down = site.link("box", "gpu"), site.link("gpu", "box")
    assert up is not None
    assert down is not None
    assert (up.direction, up.bandwidth_bps) == ("up", 6e6)
    assert (down.direction, down.bandwidth_bps) == ("down", 13e6)
    assert site.link("camera", "gpu") is None


def test_a_refusal_names_the_zone_or_the_rule(tmp_path: Path) -> None:
    site = read_site(edit(tmp_path, "devices.2.zone", "abroad"))
    assert site.refusal("camera", "personal") is None
    assert site.refusal("gpu", "features") is None
    assert "images stay in the eu" in str(site.refusal("gpu", "personal"))
    site = read(tmp_path, SITE)
    assert "sees at most 'features'" in str(site.refusal("gpu", "personal"))


def test_figures_of_the_site_win_over_the_profile(tmp_path: Path) -> None:
    path = edit(tmp_path, "devices.0.idle_w", 2.5)
    device = read_site(path).devices[0]
    assert device.idle_w.value == 2.5
    assert device.idle_w.origin == "declared"
    assert device.idle_w.source == str(path)
    assert device.profile.idle_w is not None
    assert device.profile.idle_w.value == 2.821
    path = edit(tmp_path, "devices.0.idle_w", {"value": 2.5, "source": "meter", "origin": "measured"})
    figure = read_site(path).devices[0].idle_w
    assert (figure.source, figure.origin) == ("meter", "measured")


def test_a_list_of_modes_selects_and_overrides(tmp_path: Path) -> None:
    path = edit(tmp_path, "devices.0.modes", [{"name": "cpu-int8", "active_w": 6}])
    (mode,) = read_site(path).devices[0].modes
    assert (mode.name, mode.numeric, mode.active_w.value) == ("cpu-int8", "int8", 6)
    assert mode.s_per_mac == read(tmp_path, SITE).device("camera").profile.modes[1].s_per_mac


def test_a_device_may_be_written_out_in_full(tmp_path: Path) -> None:
    mode = {"name": "npu", "numeric": "int8", "active_w": 1.5, "segment_s": 0, "s_per_mac": 1e-11}
    full = {"name": "own", "zone": "floor", "tier": "sensor", "boundary": "board", "idle_w": 1, "modes": [mode]}
    device = read_site(edit(tmp_path, "devices.3", full)).devices[3]
    assert device.profile.id == "own"
    assert device.memory_bytes is None


def test_a_link_may_be_written_out_in_full(tmp_path: Path) -> None:
    full = {
        "from": "camera", "to": "gpu", "ends": "both", "bandwidth_bps": 1e6, "latency_s": 0.1,
        "tx_w": 1, "rx_j_per_byte": 1e-7, "medium": "air", "max_utilization": 0.5, "network": "aslan_2015",
    }  # fmt: skip
    link = read_site(edit(tmp_path, "links.2", full)).link("camera", "gpu")
    assert link is not None
    assert (link.medium, link.max_utilization, link.profile.network) == ("air", 0.5, "aslan_2015")
    assert link.profile.network_j_per_byte is not None
    assert link.profile.network_j_per_byte.value == pytest.approx(2.16e-4)


def test_joules_per_byte_take_the_place_of_powers(tmp_path: Path) -> None:
    link = read_site(edit(tmp_path, "links.1.tx_j_per_byte", 1e-6)).link("box", "gpu")
    assert link is not None
    assert link.profile.tx_w is None
    assert link.profile.tx_w_per_bps is None
    assert link.profile.rx_w is not None


def test_a_duty_cycle_bounds_a_link(tmp_path: Path) -> None:
    lora = {"from": "camera", "to": "gpu", "profile": "lorawan_eu868_sf7", "latency_s": 1}
    link = read_site(edit(tmp_path, "links.2", lora)).link("camera", "gpu")
    assert link is not None
    assert link.max_utilization == 0.01


REFUSED: list[tuple[str, Any, str]] = [
    # What is written, at which path, and what the message says after the file's name.
    ("devices.1.profile", "rpi4b_arm", r"devices\[1\]\.profile: 'rpi4b_arm' is no device .* mean 'rpi4b_armnn'\?"),
    ("links.0.profile", "ethernet_1q", r"links\[0\]\.profile: 'ethernet_1q' is no link .* mean 'ethernet_1g'\?"),
    ("devices.1.zone", "flor", r"devices\[1\]\.zone: 'flor' is no zone; did you mean 'floor'\? known: floor, cloud"),
    ("devices.1.zone", ..., r"devices\[1\]\.zone: 'box' stands in no zone; known: floor"),
    ("devices.1.name", "camera", r"devices: the device 'camera' stands twice"),
    ("devices.1.name", 5, r"devices\[1\]\.name: 5 is not allowed; expected text"),
    ("devices.1.name", ..., r"devices\[1\]: field 'name' is missing"),
    ("devices.1.idle", 3, r"devices\[1\]: there is no field 'idle'; did you mean 'idle_w'\?"),
    ("devices.1.idle_w", -3, r"devices\[1\]\.idle_w: -3\.0 is no figure"),
    ("devices.1.idle_w", float("nan"), r"devices\[1\]\.idle_w: nan is no figure"),
    ("devices.1.idle_w", float("inf"), r"devices\[1\]\.idle_w: inf is no figure"),
    ("devices.1.idle_w", True, r"devices\[1\]\.idle_w: true is not allowed; expected a number or fields"),
    ("devices.1.idle_w", "3", r"devices\[1\]\.idle_w: '3' is not allowed; expected a number"),
    ("devices.1.idle_w", {"value": 3}, r"devices\[1\]\.idle_w: field 'source' is missing"),
    ("devices.1.idle_w", {"value": 3, "source": ""}, r"devices\[1\]\.idle_w: a figure needs a source"),
    ("devices.1.idle_w", 30, r"devices\[1\]: mode 'cpu-fp32' has active_w 25\.14 below idle_w 30"),
    ("devices.1.profile", "renesas_ra6m4", r"devices\[1\]\.idle_w: the idle power of 'box' is missing.*idle_w: WATTS"),
    ("devices.1.profile", ..., r"devices\[1\]\.idle_w: .* a device without a profile needs one"),
    ("devices.1.modes", [], r"devices\[1\]: modes is empty"),
    ("devices.1.modes", [{"name": "npu"}], r"devices\[1\]\.modes\[0\]\.numeric: the number format is missing"),
    ("devices.1.modes", [{"name": "npu", "numeric": "int8"}], r"modes\[0\]\.active_w: .*`active_w: NUMBER`"),
    ("devices.1.modes", [{"name": "n", "numeric": "int7"}], r"modes\[0\]\.numeric: 'int7' .* did you mean 'int8'\?"),
    ("devices.1.modes", [{"name": "cpu-fp32", "s_per_mac": 0}], r"modes\[0\]: s_per_mac is 0"),
    ("devices.1.tier", "egde", r"devices\[1\]\.tier: 'egde' is not allowed; did you mean 'edge'\?"),
    ("devices.1.pue", 0.5, r"devices\[1\]: pue is 0\.5"),
    ("devices.1.always_on", "yes", r"devices\[1\]\.always_on: 'yes' is not allowed; expected true or false"),
    ("devices.1.agent", "box", r"devices\[1\]: agent is 'box': give HOST:PORT"),
    ("devices.1.memory_bytes", 0, r"devices\[1\]: memory_bytes is 0"),
    ("devices.1.lookup_bytes_per_s", 0, r"devices\[1\]: lookup_bytes_per_s is 0"),
    ("devices.1.lookup_bytes_per_s", {"value": 5}, r"devices\[1\]\.lookup_bytes_per_s: field 'source' is missing"),
    ("flows.0.stages.0.cache", {"hits": 0.5}, r"stages\[0\]\.cache: field 'memory_bytes' is missing"),
    ("flows.0.stages.0.cache", {"hits": 1, "memory_bytes": 5}, r"stages\[0\]\.cache: hits is 1\.0: give"),
    ("flows.0.stages.0.cache", {"hits": -0.1, "memory_bytes": 5}, r"stages\[0\]\.cache: hits is -0\.1"),
    ("flows.0.stages.0.cache", {"hits": float("nan"), "memory_bytes": 5}, r"stages\[0\]\.cache: hits is nan"),
    ("flows.0.stages.0.cache", {"hits": 0.5, "memory_bytes": 0}, r"cache: memory_bytes is 0\.0: give a whole number"),
    ("flows.0.stages.0.cache", {"hits": 0.5, "memory_bytes": 5.5}, r"cache: memory_bytes is 5\.5: give a whole"),
    ("flows.0.stages.0.cache", {"hits": 0.5, "memory_bytes": float("inf")}, r"cache: memory_bytes is inf"),
    ("flows.0.stages.0.cache", {"hits": 0.5, "memory_bytes": 9, "hit": 1}, r"cache: there is no field 'hit'"),
    ("flows.0.stages.0.cache", {"hits": 0.5, "memory_bytes": 64e6}, None),
    ("devices.1.costs", "guess", r"devices\[1\]\.costs: 'guess' is not allowed; known: measured, profile"),
    ("devices", [], r"devices: the list is empty"),
    ("devices", ..., r"site\.yaml: field 'devices' is missing"),
    ("links.0.to", "bx", r"links\[0\]\.to: 'bx' is no device; did you mean 'box'\?"),
    ("links.0.from", "cam", r"links\[0\]\.from: 'cam' is no device"),
    ("links.0.to", "camera", r"links\[0\]: a link joins 'camera' to itself"),
    ("links.0.latency_s", ..., r"links\[0\]\.latency_s: the one-way latency is missing"),
    ("links.0.latency_s", -1, r"links\[0\]\.latency_s: -1\.0 is no figure"),
    ("links.0.bandwidth_bps", 0, r"links\[0\]: bandwidth_up_bps is 0"),
    ("links.0.max_utilization", 2, r"links\[0\]: max_utilization is 2"),
    ("links.0.profile", "fixed_broadband_us", r"links\[0\]\.bandwidth_up_bps: the bandwidth from 'camera' to 'box'"),
    ("links.0.profile", "pcie_gen4_x16", r"links\[0\]\.tx_w: an energy figure .* `tx_w: WATTS_ABOVE_IDLE` or"),
    ("links.0.profile", ..., r"links\[0\]: give a `profile` of the catalog, or `ends`"),
    ("links.0.network", "aslan_2016", r"links\[0\]\.network: 'aslan_2016' is no network .* mean 'aslan_2015'\?"),
    ("links.2", {"from": "box", "to": "camera", "profile": "ethernet_1g", "latency_s": 0}, r"links: two .* from 'box'"),
    ("links.1.bandwidth_up_bps", 1, None),  # a figure of its own for one direction is fine
    ("zones.1.name", "floor", r"zones: the zone 'floor' stands twice"),
    ("zones.1.sees", "feature", r"zones\[1\]\.sees: 'feature' is no label; did you mean 'features'\?"),
    ("zones.1.region", ..., r"zones\[1\]: field 'region' is missing"),
    ("zones", [], r"zones: the list is empty"),
    ("labels", ["a", "a"], r"labels: label 'a' stands twice"),
    ("labels", "public", r"labels: 'public' is not allowed; expected a list"),
    ("rules.0.label", "private", r"rules\[0\]\.label: 'private' is no label"),
    ("rules.0.regions", ["ue"], r"rules\[0\]\.regions\[0\]: 'ue' is no region of a zone; .*known: eu, us"),
    ("rules.0.regions", [], r"rules\[0\]: rule 'images stay in the eu' has no regions"),
    ("flows.0.source", "camra", r"flows\[0\]\.source: 'camra' is no device; did you mean 'camera'\?"),
    ("flows.0.sink", "x", r"flows\[0\]\.sink: 'x' is no device"),
    ("flows.0.sources", {"x": "bx"}, r"flows\[0\]\.sources\.x: 'bx' is no device; did you mean 'box'\?"),
    ("flows.0.sources", ["box"], r"flows\[0\]\.sources: .* is not allowed; expected"),
    ("flows.0.sinks", {"orientation/y": "gp"}, r"flows\[0\]\.sinks\.orientation/y: 'gp' is no device"),
    ("flows.0.sinks", {"y": "gpu"}, r"flows\[0\]\.sinks\.y: 'y' is no output of a stage; write STAGE/OUTPUT"),
    ("flows.0.labels", {"x": "featurs"}, r"flows\[0\]\.labels\.x: 'featurs' is no label"),
    ("flows.0.label", "person", r"flows\[0\]\.label: 'person' is no label; did you mean 'personal'\?"),
    ("flows.0.rate_hz", 0, r"flows\[0\]: rate_hz is 0\.0: give a finite number larger than zero"),
    ("flows.0.rate_hz", "2 Hz", r"flows\[0\]\.rate_hz: '2 Hz' is not allowed; expected a number"),
    ("flows.0.rate_hz", "4Hz", r"expected a number; give hertz as a number alone, for example 4$"),
    ("devices.1.memory_bytes", "1GB", r"'1GB' is not allowed; .*; give bytes as a number alone, for example 1e9$"),
    ("devices.1.idle_w", {"value": "3 W", "source": "meter"}, r"idle_w\.value: '3 W' .*; give watts as a number alone"),
    ("links.1.tx_w_per_bps", "1 nJ", r"expected a number or fields \(key: value\) or nothing$"),
    ("limits", {"power_w": {"box": 3, "cam_s": "5 W"}}, r"limits\.power_w\.cam_s: '5 W' .*; give watts as a number"),
    ("flows.0.deadline_s", -1, r"flows\[0\]: deadline_s is -1\.0"),
    ("flows.0.stages", [], r"flows\[0\]: flow 'inspect' has no stages"),
    (
        "flows.0.stages.0.when",
        {"tensor": "orientation/y", "at_least": 0, "share": 1},
        r"flows\[0\]\.stages\[0\]\.reads: the stage 'orientation' does not say what it reads",
    ),
    ("flows.0.outputs", ["orientatio/y"], r"flows\[0\]\.outputs\[0\]: .*did you mean 'orientation'\?"),
    ("flows.0.stages.0.reads", {"x": "gate/y"}, r"flows\[0\]\.stages\[0\]\.reads\.x: 'gate/y': 'gate' is no stage"),
    ("flows.0.stages.0.when", {"tensor": "a/b", "share": 1}, r"flows\[0\]\.stages\[0\]\.when: no bound is given"),
    (
        "flows.0.stages.0.when",
        {"tensor": "a/b", "at_leest": 1, "share": 1},
        r"stages\[0\]\.when: there is no field 'at_leest'; did you mean 'at_least'",
    ),
    (
        "flows.0.stages.0.when",
        {"tensor": "a/b", "at_least": "1", "share": 1},
        r"stages\[0\]\.when\.at_least: '1' is not allowed; expected a number or nothing",
    ),
    ("flows.0.stages.0.model", 3, r"flows\[0\]\.stages\[0\]\.model: 3 is not allowed"),
    ("flows.0.stages.0.inputs", {"x": [0]}, r"flows\[0\]\.stages\[0\]: input 'x' has shape \[0\]"),
    ("flows.0.stages.0.inputs", {"x": ["n"]}, r"inputs\.x\[0\]: 'n' is not allowed; expected a whole number$"),
    (
        "flows.0.stages.0.inputs",
        {"a": [0], "x.1": "1x3x128x128"},
        r"flows\[0\]\.stages\[0\]\.inputs\.x\.1: '1x3x128x128' is not allowed; expected a list of whole numbers, "
        r"for example \[1, 3, 128, 128\]$",
    ),
    ("flows.0.stages.0.inputs", {"x": "any"}, r"inputs\.x: 'any' .* whole numbers, for example \[1, 3, 224, 224\]$"),
    ("flows.0.stages.0.declassify.0.to", "feat", r"stages\[0\]\.declassify\[0\]\.to: 'feat' is no label"),
    ("flows.0.stages.0.weights_label", "w", r"stages\[0\]\.weights_label: 'w' is no label"),
    ("flows.0.label", "public", r"declassify\[0\]\.to: 'features' is more sensitive than the flow's label 'public'"),
    ("flows.1", {}, r"flows\[1\]: field 'name' is missing"),
    ("format", ..., r"yaml: the field 'format' is missing; write `format: placer\.site/1\.0` as the first line$"),
    ("format", None, r"format: None is not read here; write `format: placer\.site/1\.0`"),
    ("format", "placer.site/9", r"format: 'placer\.site/9' is not read here; write `format: placer\.site/1\.0`"),
    ("colour", "red", r"site\.yaml: there is no field 'colour'; known: format, name"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), REFUSED)
def test_a_refusal_says_where_what_and_what_is_allowed(
    tmp_path: Path, path: str, value: Any, message: str | None
) -> None:
    file = edit(tmp_path, path, value)
    if message is None:
        read_site(file)
        return
    with pytest.raises(SiteError) as refusal:
        read_site(file)
    assert str(refusal.value).startswith(str(file))
    assert re.search(message, str(refusal.value)), str(refusal.value)


@pytest.mark.parametrize("text", ["", "just text", "- a\n- b", "null"])
def test_a_file_that_is_no_site(tmp_path: Path, text: str) -> None:
    with pytest.raises(SiteError, match=r"format: placer\.site/1\.0"):
        read(tmp_path, text)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match=r"none\.yaml: cannot be read: No such file"):
        read_site(tmp_path / "none.yaml")


def test_a_syntax_error_has_its_line(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match=r"site\.yaml, line 4"):
        read(tmp_path, "format: placer.site/1.0\nname: x\nlabels: [a\n  b: c")


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match=r"line 3, column 1: the key 'name' stands twice"):
        read(tmp_path, SITE.replace("name: inspection line", "name: a\nname: b"))


def test_unknown_names_of_a_site(tmp_path: Path) -> None:
    site = read(tmp_path, SITE)
    with pytest.raises(SiteError, match="did you mean 'camera'"):
        site.device("camara")
    with pytest.raises(SiteError, match="did you mean 'cloud'"):
        site.zone("clud")


def test_a_zone_counts_the_carbon_of_its_grid_and_hour(tmp_path: Path) -> None:
    text = SITE.replace("sees: personal, region: eu}", "sees: personal, region: eu, grid: DE_2020, cost_per_j: 8e-8}")
    text = text.replace("region: us", "region: USA_2020").replace(
        "sees: features, region: eu}", "sees: features, region: eu, carbon_g_per_j: 1e-5}"
    )
    floor, cloud, abroad = read(tmp_path, text).zones
    assert floor.carbon_g_per_j is not None
    assert floor.carbon_g_per_j.value == pytest.approx(313.4 / 3.6e6, rel=1e-3)
    assert floor.cost_per_j is not None
    assert cloud.carbon_g_per_j is not None
    assert (cloud.carbon_g_per_j.value, cloud.carbon_g_per_j.origin, cloud.cost_per_j) == (1e-5, "declared", None)
    assert abroad.carbon_g_per_j is not None
    with pytest.raises(SiteError, match=r"zones\[2\]\.grid: 'USA_2020' has no figures by hour"):
        read(tmp_path, text + "carbon_hour: 11\n")
    noon = read(tmp_path, text.replace("USA_2020", "FR_2020") + "carbon_hour: 11\n").zones[0]
    assert noon.carbon_g_per_j is not None
    assert noon.carbon_g_per_j.value == pytest.approx(274.8 / 3.6e6, rel=1e-3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("carbon_hour: 24", r"carbon_hour: 24 is no hour of the day; give 0 to 23"),
        ("objective: joules", r"objective: 'joules' is not allowed; known: carbon_g, cost, energy_j, latency_s"),
        ("limits: {power_w: {kamera: 3}}", r"limits\.power_w\.kamera: 'kamera' is no device; did you mean 'camera'"),
        ("limits: {flow_energy_j: {look: 3}}", r"limits\.flow_energy_j\.look: 'look' is no flow"),
        ("limits: {cost_per_s: -1}", r"limits: .*cost_per_s is -1"),
        ("limits: {power_w: {camera: -1}}", r"limits: .*power_w\.camera is -1"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        read(tmp_path, SITE + more + "\n")


def test_limits_and_objective_are_read(tmp_path: Path) -> None:
    site = read(tmp_path, SITE + "objective: latency_s\nlimits: {power_w: {site: 400}, energy_w: 2}\n")
    assert (site.objective, dict(site.limits.power_w), site.limits.energy_w) == ("latency_s", {"site": 400}, 2)


def test_a_links_time_factor_multiplies_all_its_seconds(tmp_path: Path) -> None:
    # Calibration measures whole hops, the waking of a radio among them.
    slow = read_site(edit(tmp_path, "links.1.time_factor", 3.0))
    costs = []
    for site in (read(tmp_path, SITE), slow):
        link = site.link("box", "gpu")
        assert link is not None
        assert link.profile.wake_s is not None
        costs.append(transfer_cost(link, site.device("box"), site.device("gpu")))
    before, after = costs
    assert after.latency_s == pytest.approx(3 * before.latency_s)
    assert after.bytes_per_s == pytest.approx(before.bytes_per_s / 3)
    assert after.tail_j == before.tail_j


def test_a_modes_time_factor_leaves_its_power_though_that_follows_the_rate(tmp_path: Path) -> None:
    raw: Any = yaml.safe_load(SITE)
    powers = []
    for factor in (1, 3):
        modes = [{"name": "npu-int8", "time_factor": factor}]
        raw["devices"][0] = {"name": "camera", "profile": "gap9_800mv", "zone": "floor", "modes": modes}
        device = read(tmp_path, yaml.safe_dump(raw)).device("camera")
        (mode,) = device.modes
        # What a large model runs at: its seconds are those of its multiply-accumulates, so many times as long.
        powers.append(at_rate(device, mode, 0.8 / mode.s_per_mac.value).active_w.value)
    assert powers[1] == pytest.approx(powers[0])
