"""Checks a problem as a whole: names refer to something, numbers are usable, graphs have no cycle."""

from __future__ import annotations

import difflib
import math
from collections import deque
from typing import TYPE_CHECKING

from placer.errors import ProblemError
from placer.objective import FIGURES, TOTALS, asked, spends_in_network
from placer.problem import FORMAT_PAUSES, Device, Flow, Limits, Link, Op, Problem, readable_format

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def check(problem: Problem) -> None:
    """Raise `ProblemError` with the path of the first thing that is wrong; return if nothing is."""
    if not readable_format(problem.format):
        raise ProblemError(f"format: {problem.format!r} is not readable here; this version reads {FORMAT_PAUSES!r}")
    if not problem.devices:
        raise ProblemError("devices: empty; at least one device is needed")
    if not problem.flows:
        raise ProblemError("flows: empty; at least one flow is needed")
    devices = _unique((d.name for d in problem.devices), "devices")
    if "site" in devices:
        raise ProblemError("devices: the name 'site' is taken by limits.power_w; rename the device")
    for i, device in enumerate(problem.devices):
        _check_device(device, f"devices[{i}]")
    pairs: set[tuple[str, str]] = set()
    for i, link in enumerate(problem.links):
        _check_link(link, f"links[{i}]", devices)
        if (link.source, link.target) in pairs:
            raise ProblemError(f"links[{i}]: a second link from {link.source!r} to {link.target!r}; keep one")
        pairs.add((link.source, link.target))
    flows = _unique((f.name for f in problem.flows), "flows")
    weights: dict[str, tuple[float, str]] = {}
    for i, flow in enumerate(problem.flows):
        _check_flow(flow, f"flows[{i}]", devices, weights)
    if problem.objective == "latency_s" and len(problem.flows) != 1:
        raise ProblemError(f"objective: latency_s needs exactly one flow, the file has {len(problem.flows)}")
    _check_limits(problem.limits, devices, flows)
    _check_figures(problem)


def _check_device(device: Device, at: str) -> None:
    for field in ("max_utilization", "segment_s", "segment_j", "wait_w"):
        _number(getattr(device, field), f"{at}.{field}")
    for field in ("memory_bytes", "idle_w", *FIGURES.values()):
        value = getattr(device, field)
        if value is not None:
            _number(value, f"{at}.{field}")
    if device.idle_w is None and not device.always_on:
        raise ProblemError(f"{at}.idle_w: missing; a device that is not always_on ({device.name!r}) needs it in watts")
    started: set[str] = set()
    for i, start in enumerate(device.starts):
        _number(start.segment_s, f"{at}.starts[{i}].segment_s")
        _number(start.segment_j, f"{at}.starts[{i}].segment_j")
        if start.mode in started:
            raise ProblemError(f"{at}.starts[{i}]: a second start of mode {start.mode!r}; keep one")
        started.add(start.mode)
    modes: set[tuple[str, str]] = set()
    for i, conversion in enumerate(device.conversions):
        _number(conversion.s_per_byte, f"{at}.conversions[{i}].s_per_byte")
        _number(conversion.j_per_byte, f"{at}.conversions[{i}].j_per_byte")
        pair = (conversion.from_mode, conversion.to_mode)
        if pair in modes:
            raise ProblemError(f"{at}.conversions[{i}]: a second conversion {pair[0]!r} to {pair[1]!r}; keep one")
        modes.add(pair)


def _check_link(link: Link, at: str, devices: Collection[str]) -> None:
    _known(link.source, devices, f"{at}.from", "device")
    _known(link.target, devices, f"{at}.to", "device")
    if link.source == link.target:
        raise ProblemError(f"{at}.to: {link.target!r} is where the link begins; a link joins two devices")
    for field in (
        "latency_s",
        "energy_j_per_byte",
        "energy_j_per_transfer",
        "tail_j",
        "sender_fraction",
        "receiver_fraction",
        "max_utilization",
    ):
        _number(getattr(link, field), f"{at}.{field}")
    for field in FIGURES.values():
        value = getattr(link, field)
        if value is not None:
            _number(value, f"{at}.{field}")
    _number(link.bytes_per_s, f"{at}.bytes_per_s")
    if link.bytes_per_s == 0:
        raise ProblemError(f"{at}.bytes_per_s: 0; must be above 0 (leave the link out to forbid the pair)")
    if link.sender_fraction + link.receiver_fraction > 1 + 1e-9:
        raise ProblemError(
            f"{at}: sender_fraction {link.sender_fraction} and receiver_fraction {link.receiver_fraction} exceed 1"
        )


def _check_flow(flow: Flow, at: str, devices: Collection[str], weights: dict[str, tuple[float, str]]) -> None:
    _number(flow.rate_hz, f"{at}.rate_hz")
    if flow.deadline_s is not None:
        _number(flow.deadline_s, f"{at}.deadline_s")
    if not flow.ops:
        raise ProblemError(f"{at}.ops: empty; a flow needs at least one op")
    ops = _unique((op.name for op in flow.ops), f"{at}.ops")
    outputs: dict[str, set[str]] = {name: set() for name in ops}
    _unique((t.name for t in flow.tensors), f"{at}.tensors")
    for i, tensor in enumerate(flow.tensors):
        where = f"{at}.tensors[{i}]"
        _number(tensor.bytes, f"{where}.bytes")
        _known(tensor.producer, ops, f"{where}.producer", "op")
        for j, consumer in enumerate(tensor.consumers):
            _known(consumer, ops, f"{where}.consumers[{j}]", "op")
        if len(set(tensor.consumers)) != len(tensor.consumers):
            raise ProblemError(f"{where}.consumers: an op stands twice; name each once")
        for j, device in enumerate(tensor.not_on):
            _known(device, devices, f"{where}.not_on[{j}]", "device")
        outputs[tensor.producer].add(tensor.name)
    for i, op in enumerate(flow.ops):
        _check_op(op, f"{at}.ops[{i}]", devices, outputs[op.name])
        if op.weights_id is not None:
            size, first = weights.setdefault(op.weights_id, (op.weights_bytes, f"{at}.ops[{i}]"))
            if size != op.weights_bytes:
                raise ProblemError(
                    f"{at}.ops[{i}].weights_bytes: {op.weights_bytes:g}, but {first} gives {size:g} for the same "
                    f"weights_id {op.weights_id!r}"
                )
    for i, group in enumerate(flow.colocate):
        for j, name in enumerate(group):
            _known(name, ops, f"{at}.colocate[{i}][{j}]", "op")
    _check_acyclic(flow, at)


def _check_op(op: Op, at: str, devices: Collection[str], outputs: Collection[str]) -> None:
    for field in ("weights_bytes", "workspace_bytes", "share"):
        _number(getattr(op, field), f"{at}.{field}")
    seen: set[tuple[str, str]] = set()
    for i, option in enumerate(op.options):
        where = f"{at}.options[{i}]"
        _known(option.device, devices, f"{where}.device", "device")
        if (option.device, option.mode) in seen:
            raise ProblemError(f"{where}: ({option.device!r}, {option.mode!r}) stands twice; keep one")
        seen.add((option.device, option.mode))
        _number(option.seconds, f"{where}.seconds")
        _number(option.joules, f"{where}.joules")
        _number(option.accuracy_cost, f"{where}.accuracy_cost")
        for name, size in (option.output_bytes or {}).items():
            _known(name, outputs, f"{where}.output_bytes", "tensor made by this op")
            _number(size, f"{where}.output_bytes.{name}")


def _check_acyclic(flow: Flow, at: str) -> None:
    waits = {op.name: 0 for op in flow.ops}
    after: dict[str, list[str]] = {op.name: [] for op in flow.ops}
    for tensor in flow.tensors:
        after[tensor.producer].extend(tensor.consumers)
        for consumer in tensor.consumers:
            waits[consumer] += 1
    ready = deque(name for name, count in waits.items() if count == 0)
    while ready:
        for consumer in after[ready.popleft()]:
            waits[consumer] -= 1
            if waits[consumer] == 0:
                ready.append(consumer)
    stuck = [name for name, count in waits.items() if count > 0]
    if stuck:
        raise ProblemError(f"{at}.tensors: a cycle through or before op {stuck[0]!r}; a flow is a graph without cycles")


def _check_limits(limits: Limits, devices: Collection[str], flows: Collection[str]) -> None:
    for name, value in limits.power_w.items():
        _known(name, {*devices, "site"}, "limits.power_w", "device")
        _number(value, f"limits.power_w.{name}")
    for field in ("flow_energy_j", "accuracy_cost", "deadline_after_pauses_s"):
        for name, value in getattr(limits, field).items():
            _known(name, flows, f"limits.{field}", "flow")
            _number(value, f"limits.{field}.{name}")
    for name, caps in limits.flow_device_energy_j.items():
        _known(name, flows, "limits.flow_device_energy_j", "flow")
        for device, value in caps.items():
            _known(device, devices, f"limits.flow_device_energy_j.{name}", "device")
            _number(value, f"limits.flow_device_energy_j.{name}.{device}")

    for field in TOTALS:
        cap = getattr(limits, field)
        if cap is not None:
            _number(cap, f"limits.{field}")


def _check_figures(problem: Problem) -> None:
    """Refuse to count carbon or cost where a figure is missing: nothing is free because nobody knows its price."""
    for who, objective in asked(problem):
        field = FIGURES[objective]
        for i, device in enumerate(problem.devices):
            if getattr(device, field) is None:
                raise ProblemError(f"devices[{i}].{field}: missing; {who} needs it for {device.name!r}")
        for i, link in enumerate(problem.links):
            if getattr(link, field) is None and spends_in_network(link):
                raise ProblemError(
                    f"links[{i}].{field}: missing; {who} needs it for the network's part of the joules from "
                    f"{link.source!r} to {link.target!r} (or give the joules to sender and receiver)"
                )


def _number(value: float, at: str) -> None:
    if not math.isfinite(value):
        raise ProblemError(f"{at}: {value} is not a finite number")
    if value < 0:
        raise ProblemError(f"{at}: {value:g} is negative; must be 0 or above")


def _unique(names: Iterable[str], at: str) -> set[str]:
    seen: set[str] = set()
    for i, name in enumerate(names):
        if not name:
            raise ProblemError(f"{at}[{i}].name: empty; every name has at least one character")
        if name in seen:
            raise ProblemError(f"{at}[{i}].name: {name!r} stands twice; names are unique")
        seen.add(name)
    return seen


def _known(name: str, names: Collection[str], at: str, kind: str) -> None:
    if name in names:
        return
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ProblemError(f"{at}: {name!r} is no {kind} of this file{hint}")
