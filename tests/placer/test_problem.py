"""problem.json as others write it: what is read, what is skipped, and what a refusal says."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from placer.errors import ProblemError
from placer.index import ProblemIndex
from placer.problem import decode_problem, encode_problem, read_problem
from tests.oracles.odd_problem import odd_problem
from tests.oracles.random_problem import random_problem

DOCUMENT = Path(__file__).parents[2] / "docs" / "problem-format.md"


def small() -> dict[str, Any]:
    return {
        "format": "placer.problem/1.0",
        "devices": [{"name": "camera"}, {"name": "server", "idle_w": 9.0, "always_on": False}],
        "links": [
            {"from": "camera", "to": "server", "latency_s": 0.1, "bytes_per_s": 1e6, "energy_j_per_byte": 1e-7},
        ],
        "flows": [
            {
                "name": "inspect",
                "ops": [
                    {"name": "in", "options": [{"device": "camera", "mode": "io", "seconds": 0, "joules": 0}]},
                    {"name": "net", "options": [{"device": "server", "mode": "m", "seconds": 1, "joules": 2}]},
                ],
                "tensors": [{"name": "t", "bytes": 10, "producer": "in", "consumers": ["net"]}],
            }
        ],
    }


def decode(data: Any) -> Any:
    return decode_problem(json.dumps(data).encode())


def changed(path: str, value: Any) -> dict[str, Any]:
    """Set one field of the small problem, named like `flows[0].ops[1].share`."""
    data = copy.deepcopy(small())
    keys = [int(k) if k.isdigit() else k for k in re.findall(r"[^.\[\]]+", path)]
    place: Any = data
    for key in keys[:-1]:
        place = place[key] if isinstance(place, list) else place.setdefault(key, {})
    if isinstance(place, list) and keys[-1] == len(place):
        place.append(value)
    else:
        place[keys[-1]] = value
    return data


def test_defaults_are_those_of_the_format() -> None:
    problem = decode(small())
    device, link, flow = problem.devices[0], problem.links[0], problem.flows[0]
    assert (device.always_on, device.max_utilization, device.memory_bytes) == (True, 1.0, None)
    assert (link.sender_fraction, link.receiver_fraction, link.medium, link.max_utilization) == (1.0, 0.0, None, 1.0)
    assert (flow.rate_hz, flow.deadline_s, flow.latency, flow.colocate) == (0.0, None, "makespan", ())
    assert (flow.ops[0].share, flow.ops[0].weights_id, problem.objective) == (1.0, None, "energy_j")


def test_a_mode_may_start_at_costs_of_its_own() -> None:
    start = {"mode": "m", "segment_s": 0.25, "segment_j": 0.5}
    problem = decode(changed("devices[0].starts", [start]))
    assert problem.format == "placer.problem/1.3"
    assert decode(small()).format == "placer.problem/1.0"
    assert problem.devices[0].start("m") == (0.25, 0.5)
    assert problem.devices[0].start("n") == (problem.devices[0].segment_s, problem.devices[0].segment_j)
    with pytest.raises(ProblemError, match=r"devices\[0\]\.starts\[1\]: a second start of mode 'm'; keep one"):
        decode(changed("devices[0].starts", [start, start]))
    for field in ("segment_s", "segment_j"):
        with pytest.raises(ProblemError, match=rf"devices\[0\]\.starts\[0\]\.{field}.*negative"):
            decode(changed("devices[0].starts", [{**start, field: -1.0}]))
        with pytest.raises(ProblemError, match=field):
            decode(changed("devices[0].starts", [{k: v for k, v in start.items() if k != field}]))


@pytest.mark.parametrize("seed", range(20))
def test_a_file_comes_back_equal(seed: int) -> None:
    for problem in (odd_problem(seed, flows=2), random_problem(seed, modes=2, shares=True)):
        assert decode_problem(encode_problem(problem)) == problem


@pytest.mark.parametrize(
    "path",
    [
        "devices[0].idle_w",
        "devices[0].memory_bytes",
        "devices[0].segment_s",
        "devices[0].segment_j",
        "devices[0].wait_w",
        "devices[0].max_utilization",
        "devices[0].carbon_g_per_j",
        "links[0].latency_s",
        "links[0].bytes_per_s",
        "links[0].energy_j_per_byte",
        "links[0].energy_j_per_transfer",
        "links[0].tail_j",
        "links[0].sender_fraction",
        "links[0].receiver_fraction",
        "links[0].max_utilization",
        "links[0].cost_per_j",
        "flows[0].rate_hz",
        "flows[0].deadline_s",
        "flows[0].ops[1].weights_bytes",
        "flows[0].ops[1].workspace_bytes",
        "flows[0].ops[1].share",
        "flows[0].ops[1].options[0].seconds",
        "flows[0].ops[1].options[0].joules",
        "flows[0].ops[1].options[0].accuracy_cost",
        "flows[0].tensors[0].bytes",
        "limits.power_w.camera",
        "limits.flow_energy_j.inspect",
        "limits.flow_device_energy_j.inspect.camera",
        "limits.accuracy_cost.inspect",
        "limits.energy_w",
    ],
)
def test_numbers_are_finite_and_not_negative(path: str) -> None:
    with pytest.raises(ProblemError, match=re.escape(path) + r".*negative"):
        decode(changed(path, -1.0))
    # The reader does not say which key of a map it stood at, only which map.
    where = ".".join(path.split(".")[:2]) if path.startswith("limits.") else path
    with pytest.raises(ProblemError, match=re.escape(where) + r".*Expected"):
        decode(changed(path, "much"))
    problem = decode(changed(path, 0.0 if path.endswith("fraction") else 0.5))
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ProblemError, match=re.escape(path) + r".*not a finite"):
            _set(problem, path, bad)


def _set(value: Any, path: str, number: float) -> Any:
    """Make the problem again with one number changed, past the JSON reader, which knows no NaN."""
    head, _, rest = path.partition(".")
    name, _, position = head.rstrip("]").partition("[")
    if isinstance(value, dict):
        return {**value, name: _set(value[name], rest, number) if rest else number}
    field = {"from": "source", "to": "target"}.get(name, name)
    old = getattr(value, field)
    if position:
        new: Any = tuple(_set(v, rest, number) if i == int(position) else v for i, v in enumerate(old))
    else:
        new = _set(old, rest, number) if rest else number
    return msgspec.structs.replace(value, **{field: new})


@pytest.mark.parametrize("text", [b"", b"[", b"NaN", b'{"devices": [NaN]}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ProblemError):
        decode_problem(text)


def test_numbers_too_large_for_a_float_are_refused() -> None:
    text = json.dumps(small()).replace("1000000.0", "1e999").encode()
    with pytest.raises(ProblemError):
        decode_problem(text)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "placer.problem/2.0", r"^format: 'placer.problem/2.0' is not readable"),
        ("devices", [], r"^devices: empty"),
        ("flows", [], r"^flows: empty"),
        ("flows[0].ops", [], r"^flows\[0\].ops: empty"),
        ("objective", "joy", r"^objective: "),
        ("devices[0].colour", "red", r"^devices\[0\]: .*colour"),
        ("links[0].form", "a", r"^links\[0\]: .*form"),
        ("flows[0].ops[1].options[0].second", 1, r"^flows\[0\].ops\[1\].options\[0\]: .*second"),
        ("devices[0].name", "", r"^devices\[0\].name: empty"),
        ("devices[0].name", "server", r"^devices\[1\].name: 'server' stands twice"),
        ("devices[0].name", "site", r"'site' is taken"),
        ("devices[1]", {"name": "server", "always_on": False}, r"^devices\[1\].idle_w: missing"),
        ("links[0].to", "sever", r"^links\[0\].to: 'sever' is no device.*did you mean 'server'"),
        ("links[0].from", "camra", r"^links\[0\].from: 'camra' is no device.*did you mean 'camera'"),
        ("links[0].to", "camera", r"^links\[0\].to: .*joins two devices"),
        ("links[0].bytes_per_s", 0, r"^links\[0\].bytes_per_s: 0; must be above 0"),
        ("links[0].receiver_fraction", 0.5, r"^links\[0\]: .*exceed 1"),
        ("flows[0].ops[1].name", "in", r"^flows\[0\].ops\[1\].name: 'in' stands twice"),
        ("flows[0].ops[1].options[0].device", "servers", r"options\[0\].device: .*did you mean 'server'"),
        ("flows[0].ops[0].options[0].output_bytes", {"tt": 1}, r"options\[0\].output_bytes: 'tt' is no tensor made"),
        ("flows[0].ops[1].options[0].output_bytes", {"t": 1}, r"ops\[1\].options\[0\].output_bytes: 't' is no tensor"),
        ("flows[0].tensors[0].producer", "inn", r"^flows\[0\].tensors\[0\].producer: .*did you mean 'in'"),
        ("flows[0].tensors[0].consumers", ["nett"], r"tensors\[0\].consumers\[0\]: .*did you mean 'net'"),
        ("flows[0].tensors[0].consumers", ["net", "net"], r"tensors\[0\].consumers: .*twice"),
        ("flows[0].tensors[0].consumers", ["in"], r"^flows\[0\].tensors: a cycle .*'in'"),
        ("flows[0].tensors[0].not_on", ["serve"], r"tensors\[0\].not_on\[0\]: .*did you mean 'server'"),
        ("flows[0].colocate", [["in", "nte"]], r"^flows\[0\].colocate\[0\]\[1\]: .*did you mean 'net'"),
        ("limits.power_w.kamera", 1, r"^limits.power_w: .*did you mean 'camera'"),
        ("limits.flow_energy_j.inspct", 1, r"^limits.flow_energy_j: .*did you mean 'inspect'"),
        ("limits.flow_device_energy_j.inspect.camer", 1, r"^limits.flow_device_energy_j.inspect: .*'camera'"),
        ("limits.accuracy_cost.other", 1, r"^limits.accuracy_cost: 'other' is no flow"),
        ("devices[0].always_on", "yes", r"^devices\[0\].always_on: "),
    ],
)
def test_a_refusal_names_the_field_and_the_value(path: str, value: Any, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        decode(changed(path, value))


@pytest.mark.parametrize("field", ["name", "ops"])
def test_a_missing_field_is_named_with_its_place(field: str) -> None:
    data = small()
    del data["flows"][0][field]
    with pytest.raises(ProblemError, match=rf"^flows\[0\]: .*{field}"):
        decode(data)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("devices[2]", {"name": "camera"}), r"devices\[2\].name: 'camera' stands twice"),
        (("links[1]", {**small()["links"][0]}), r"links\[1\]: a second link"),
        (("flows[1]", small()["flows"][0]), r"flows\[1\].name: 'inspect' stands twice"),
        (("flows[0].tensors[1]", small()["flows"][0]["tensors"][0]), r"tensors\[1\].name: 't' stands twice"),
        (("flows[0].ops[1].options[1]", small()["flows"][0]["ops"][1]["options"][0]), r"options\[1\].*stands twice"),
    ],
)
def test_what_stands_twice_is_refused(parts: tuple[str, Any], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        decode(changed(*parts))


def test_weights_of_one_id_have_one_size() -> None:
    data = small()
    for op, size in zip(data["flows"][0]["ops"], (1, 2), strict=True):
        op.update(weights_id="w", weights_bytes=size)
    with pytest.raises(ProblemError, match=r"ops\[1\].weights_bytes: 2, but flows\[0\].ops\[0\] gives 1"):
        decode(data)


def test_latency_is_minimized_for_one_flow_only() -> None:
    data = small()
    data["objective"] = "latency_s"
    assert decode(data).objective == "latency_s"
    data["flows"].append({**data["flows"][0], "name": "other"})
    with pytest.raises(ProblemError, match=r"^objective: latency_s needs exactly one flow, the file has 2"):
        decode(data)


def test_extension_fields_are_skipped_at_any_depth() -> None:
    data = small()
    data["x_note"] = {"anything": [1, {"devices": None}]}
    data["devices"][0]["x_serial"] = 17
    data["flows"][0]["ops"][1]["options"][0]["x_measured"] = "yes"
    assert decode(data) == decode(small())


def test_names_that_look_like_extension_fields_are_names() -> None:
    text = json.dumps({**small(), "x_note": 1}).replace('"camera"', '"x_camera"').replace('"t"', '"x_t"')
    text = text.replace('"inspect"', '"x_inspect"')
    data = json.loads(text)
    data["limits"] = {
        "power_w": {"x_camera": 4.0},
        "flow_energy_j": {"x_inspect": 3.0},
        "flow_device_energy_j": {"x_inspect": {"x_camera": 2.0}},
        "accuracy_cost": {"x_inspect": 1.0},
    }
    data["flows"][0]["ops"][0]["options"][0]["output_bytes"] = {"x_t": 7.0}
    problem = decode(data)
    assert problem.limits.power_w == {"x_camera": 4.0}
    assert problem.limits.flow_energy_j == {"x_inspect": 3.0}
    assert problem.limits.flow_device_energy_j == {"x_inspect": {"x_camera": 2.0}}
    assert problem.limits.accuracy_cost == {"x_inspect": 1.0}
    assert problem.flows[0].ops[0].options[0].output_bytes == {"x_t": 7.0}


def test_a_later_minor_version_is_read() -> None:
    assert decode(changed("format", "placer.problem/1.7")).format == "placer.problem/1.7"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match=r"nowhere.json: cannot be read"):
        read_problem(tmp_path / "nowhere.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ProblemError, match=r"bad.json: not JSON"):
        read_problem(tmp_path / "bad.json")


def test_the_example_of_the_document_is_read_and_solved() -> None:
    from placer.solver.solve import solve

    (text,) = re.findall(r"```json\n(\{.*?\n\})\n```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[:1]
    plan = solve(decode_problem(text.encode()))
    assert plan.status == "optimal"


# --- the index: the same problem by positions ----------------------------------------------------------------------


def test_the_index_translates_both_ways() -> None:
    index = ProblemIndex(random_problem(3, ops=5, modes=2))
    choice = tuple(len(o) - 1 for o in index.flows[0].options)
    assert index.choice_of(0, index.assignment_of(0, choice)) == choice


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net": None}, "'net' is not assigned"),
        ({"other": ("camera", "io")}, "has no op 'other'"),
        ({"net": ("camera", "m")}, "'net' has no option"),
    ],
)
def test_the_index_refuses_what_is_no_assignment(change: dict[str, Any], message: str) -> None:
    index = ProblemIndex(decode(small()))
    assignment = {"in": ("camera", "io"), "net": ("server", "m"), **change}
    with pytest.raises(ProblemError, match=message):
        index.choice_of(0, {k: v for k, v in assignment.items() if v is not None})


def test_links_without_a_medium_have_queues_of_their_own() -> None:
    data = small()
    data["devices"] = [{"name": n} for n in ("camera", "server", "b->c", "a", "a->b", "c")]
    link = data["links"][0]
    data["links"] = [{**link, "from": s, "to": t} for s, t in (("a->b", "c"), ("a", "b->c"))]
    data["links"] += [{**link, "medium": "air"}, {**link, "from": "server", "to": "camera", "medium": "air"}]
    assert ProblemIndex(decode(data)).medium_of == (0, 1, 2, 2)


def test_sources_and_sinks_are_ops_with_one_free_option_at_an_end() -> None:
    data = small()
    data["flows"][0]["ops"].append(
        {"name": "out", "options": [{"device": "camera", "mode": "io", "seconds": 0, "joules": 1}]}
    )
    data["flows"][0]["tensors"].append({"name": "u", "bytes": 1, "producer": "net", "consumers": ["out"]})
    (flow,) = ProblemIndex(decode(data)).flows
    assert flow.is_source == (True, False, False)
    assert flow.is_sink == (False, False, True)
    assert flow.source_devices == (0,)
