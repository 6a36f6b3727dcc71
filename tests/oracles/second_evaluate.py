"""A second evaluator, written from the text of the format alone, so that `evaluate` has somebody to disagree with.

It shares no code and no shape with the package: plain dicts keyed by names, and a schedule that steps from one
moment to the next and asks again, each time, what may happen now.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from placer.problem import Flow, Problem

Choice = dict[str, dict[str, tuple[str, str]]]


def second_evaluate(problem: Problem, choice: Choice) -> dict[str, Any]:
    """Judge a choice, given as {flow: {op: (device, mode)}}; every quantity by name, in SI units."""
    devices = {d.name: d for d in problem.devices}
    flows = {f.name: _judge_flow(problem, f, choice[f.name]) for f in problem.flows}
    broken: set[str] = set()
    for flow in problem.flows:
        broken |= {f"{flow.name}/{what}" for what in flows[flow.name]["broken"]}

    working = {
        choice[f.name][op.name][0]
        for f in problem.flows
        for op in f.ops
        for o in op.options
        if (o.device, o.mode) == choice[f.name][op.name] and o.seconds > 0
    }
    idle_w = {n: float(d.idle_w or 0.0) if n in working and not d.always_on else 0.0 for n, d in devices.items()}
    if problem.objective == "latency_s":
        objective = flows[problem.flows[0].name]["latency_s"]
    else:
        objective = math.fsum([f.rate_hz * flows[f.name]["energy_j"] for f in problem.flows] + list(idle_w.values()))

    memory = {name: _memory(problem, choice, name) for name in devices}
    for name, device in devices.items():
        if device.memory_bytes is not None and _above(memory[name], device.memory_bytes):
            broken.add(f"memory/{name}")

    load = {n: math.fsum(f.rate_hz * flows[f.name]["load_s"].get(n, 0.0) for f in problem.flows) for n in devices}
    for name, device in devices.items():
        if _above(load[name], device.max_utilization):
            broken.add(f"utilization/{name}")
    media = {_medium(link) for link in problem.links}
    air = {m: math.fsum(f.rate_hz * flows[f.name]["air_s"].get(m, 0.0) for f in problem.flows) for m in media}
    for link in problem.links:
        if _above(air[_medium(link)], link.max_utilization):
            broken.add(f"utilization/{_medium(link)}")

    # An average power is what a meter shows: here the idle power of a device that is on anyway counts too.
    resting = {n: float(d.idle_w or 0.0) if n in working or d.always_on else 0.0 for n, d in devices.items()}
    power = {
        n: math.fsum([f.rate_hz * flows[f.name]["at_device_j"].get(n, 0.0) for f in problem.flows] + [resting[n]])
        for n in devices
    }
    site_w = math.fsum([f.rate_hz * flows[f.name]["energy_j"] for f in problem.flows] + list(resting.values()))
    for name, cap in problem.limits.power_w.items():
        if _above(site_w if name == "site" else power[name], cap):
            broken.add(f"power/{name}")
    for name, cap in problem.limits.flow_energy_j.items():
        if _above(flows[name]["energy_j"], cap):
            broken.add(f"{name}/energy")
    for name, caps in problem.limits.flow_device_energy_j.items():
        for device_name, cap in caps.items():
            if _above(flows[name]["at_device_j"].get(device_name, 0.0), cap):
                broken.add(f"{name}/energy/{device_name}")
    for name, cap in problem.limits.accuracy_cost.items():
        if _above(flows[name]["accuracy_cost"], cap):
            broken.add(f"{name}/accuracy")
    return {
        "objective": objective,
        "flows": flows,
        "idle_w": idle_w,
        "memory_bytes": memory,
        "device_utilization": load,
        "medium_utilization": air,
        "power_w": power,
        "site_w": site_w,
        "broken": broken,
    }


def _above(value: float, cap: float) -> bool:
    return value > cap and not math.isclose(value, cap, rel_tol=1e-9, abs_tol=1e-15)


def _medium(link: Any) -> str:
    return f"medium {link.medium}" if link.medium is not None else f"{link.source}->{link.target}"


def _memory(problem: Problem, choice: Choice, device: str) -> float:
    there = [(f.name, op) for f in problem.flows for op in f.ops if choice[f.name][op.name][0] == device]
    weights = {
        ("id", op.weights_id) if op.weights_id is not None else (f, op.name): op.weights_bytes for f, op in there
    }
    return math.fsum(weights.values()) + max([op.workspace_bytes for _, op in there], default=0.0)


def _judge_flow(problem: Problem, flow: Flow, where: dict[str, tuple[str, str]]) -> dict[str, Any]:
    devices = {d.name: d for d in problem.devices}
    links = {(k.source, k.target): k for k in problem.links}
    ops = {op.name: op for op in flow.ops}
    option = {n: next(o for o in op.options if (o.device, o.mode) == where[n]) for n, op in ops.items()}
    position = {op.name: i for i, op in enumerate(flow.ops)}
    inputs: dict[str, list[str]] = {n: [] for n in ops}
    readers: dict[str, list[str]] = {n: [] for n in ops}
    for t in flow.tensors:
        for c in t.consumers:
            inputs[c].append(t.producer)
            readers[t.producer].append(c)

    def fixed(n: str) -> bool:
        return len(ops[n].options) == 1 and ops[n].options[0].seconds == 0

    sources = {n for n in ops if not inputs[n] and fixed(n)}
    sinks = {n for n in ops if not readers[n] and fixed(n)}
    ends = sources | sinks
    size = {t.name: (option[t.producer].output_bytes or {}).get(t.name, t.bytes) for t in flow.tensors}

    # Segments: levels by recursion, then a flood fill over producer-consumer edges.
    level: dict[str, int] = {}

    def level_of(n: str) -> int:
        if n not in level:
            level[n] = max([level_of(u) + (where[u] != where[n]) for u in inputs[n]], default=0)
        return level[n]

    segment: dict[str, str] = {n: n for n in ends}
    for n in ops:
        if n not in segment:
            crowd = [n]
            while crowd:
                u = crowd.pop()
                if u in segment:
                    continue
                segment[u] = n
                crowd += [
                    v
                    for v in inputs[u] + readers[u]
                    if v not in ends and where[v] == where[u] and level_of(v) == level_of(u)
                ]
    members: dict[str, list[str]] = {}
    for n in ops:
        members.setdefault(segment[n], []).append(n)
    share = {s: max(ops[n].share for n in ns) for s, ns in members.items()}

    def begin(s: str) -> tuple[float, float]:
        device, mode = devices[where[s][0]], where[s][1]
        own = {(x.segment_s, x.segment_j) for x in device.starts if x.mode == mode}
        return own.pop() if own else (device.segment_s, device.segment_j)

    def duration(s: str) -> float:
        if s in ends:
            return 0.0
        return math.fsum([begin(s)[0]] + [option[n].seconds for n in members[s]])

    # What travels: {(tensor, device, mode or None): consumers}; mode only for conversions on the producer's device.
    broken: set[str] = set()
    trips: dict[tuple[str, str], list[str]] = {}
    conversions: dict[tuple[str, str], list[str]] = {}
    for t in flow.tensors:
        home, mode = where[t.producer]
        if home in t.not_on:
            broken.add("held")
        for c in t.consumers:
            there, other = where[c]
            if there in t.not_on:
                broken.add("held")
            if there != home:
                trips.setdefault((t.name, there), []).append(c)
                if (home, there) not in links:
                    broken.add("link")
            elif other != mode:
                conversions.setdefault((t.name, other), []).append(c)
    for group in flow.colocate:
        if len({where[n][0] for n in group}) > 1:
            broken.add("colocate")
    producer = {t.name: t.producer for t in flow.tensors}

    def rate(kind: str, t: str, to_mode: str) -> float:
        home, mode = where[producer[t]]
        for c in devices[home].conversions:
            if (c.from_mode, c.to_mode) == (mode, to_mode):
                return c.s_per_byte if kind == "s" else c.j_per_byte
        return 0.0

    # Joules, each with whose they are.
    at_device: dict[str, list[float]] = {n: [] for n in devices}
    everything: list[float] = []

    def spend(joules: float, device: str | None) -> None:
        everything.append(joules)
        if device is not None:
            at_device[device].append(joules)

    load_s: dict[str, list[float]] = {n: [] for n in devices}
    busy_s: dict[str, list[float]] = {n: [] for n in devices}
    air_s: dict[str, list[float]] = {}
    for n in ops:
        spend(option[n].joules * ops[n].share, where[n][0])
        load_s[where[n][0]].append(option[n].seconds * ops[n].share)
    for s in members:
        if s not in ends:
            device = devices[where[s][0]]
            spend(begin(s)[1] * share[s], device.name)
            load_s[device.name].append(begin(s)[0] * share[s])
            busy_s[device.name].append(duration(s))
    used = set()
    flight: dict[tuple[str, str], tuple[float, float]] = {}
    for (t, there), readers_there in trips.items():
        link = links.get((where[producer[t]][0], there))
        if link is None:
            flight[t, there] = (0.0, 0.0)
            continue
        weight = max(ops[c].share for c in readers_there)
        joules = (link.energy_j_per_transfer + size[t] * link.energy_j_per_byte) * weight
        flight[t, there] = (size[t] / link.bytes_per_s, link.latency_s)
        air_s.setdefault(_medium(link), []).append(size[t] / link.bytes_per_s * weight)
        parts = [(joules, link)]
        if link not in used:
            parts.append((link.tail_j, link))
            used.add(link)
        for j, k in parts:
            spend(j * k.sender_fraction, k.source)
            spend(j * k.receiver_fraction, k.target)
            spend(j * (1 - k.sender_fraction - k.receiver_fraction), None)
    for (t, to_mode), users in conversions.items():
        spend(rate("j", t, to_mode) * size[t] * max(ops[c].share for c in users), where[producer[t]][0])

    def takes(flight: dict[tuple[str, str], tuple[float, float]]) -> float:
        if flow.latency == "serial":
            return math.fsum(
                [duration(s) for s in members]
                + [a + b for a, b in flight.values()]
                + [rate("s", t, m) * size[t] for t, m in conversions]
            )
        return _step_through(problem, flow, where, segment, members, ends, duration, flight, rate, size, position)

    latency = takes(flight)
    letters: dict[tuple[str, str], list[str]] = {}
    for t, there in trips:
        letters.setdefault((segment[producer[t]], there), []).append(t)
    delayed = dict(flight)
    for (_, there), together in letters.items():
        home = where[producer[together[0]]][0]
        if (home, there) in links:
            weight = max(ops[c].share for t in together for c in trips[t, there])
            wait = _wait(links, home, there, sum(size[t] for t in together), flow.rate_hz * weight)
            first = (min(together, key=[t.name for t in flow.tensors].index), there)
            delayed[first] = (flight[first][0] + wait, flight[first][1])
    paused = takes(delayed)
    after_pauses = problem.limits.deadline_after_pauses_s.get(flow.name)
    if after_pauses is not None and _above(paused, after_pauses):
        broken.add("deadline after pauses")
    for name in {where[n][0] for n in sources}:
        spend(devices[name].wait_w * (latency - math.fsum(busy_s[name])), name)
    if flow.deadline_s is not None and _above(latency, flow.deadline_s):
        broken.add("deadline")
    return {
        "latency_s": latency,
        "paused_s": paused,
        "energy_j": math.fsum(everything),
        "at_device_j": {n: math.fsum(j) for n, j in at_device.items()},
        "load_s": {n: math.fsum(s) for n, s in load_s.items()},
        "air_s": {n: math.fsum(s) for n, s in air_s.items()},
        "accuracy_cost": math.fsum(o.accuracy_cost for o in option.values()),
        "segments": len([s for s in members if s not in ends]),
        "broken": broken,
    }


def _wait(links: dict[tuple[str, str], Any], home: str, there: str, size: float, per_s: float) -> float:
    """Say how long a message waits after pauses, as docs/problem-format.md has it."""
    if per_s == 0:
        return 0.0
    link = links[home, there]
    r = link.latency_s + links.get((there, home), link).latency_s
    framed = 1500 / 1448 * (1 + 9 / 16384)
    b, x, w0 = framed * link.bytes_per_s, (size + 120) * framed, 15000.0
    k = min(60, math.floor((1 / per_s - x / b) / (r + 0.2)))
    if k <= 0:
        return 0.0
    w = max(w0, min(x * 2**k / (2**k - 1), r * b) / 2**k)
    sent = wait = 0.0
    # "Below" up to rounding: three thirds of a message are a message.
    while sent + w < x * (1 - 1e-9) and w < r * b:
        wait, sent, w = wait + r - w / b, sent + w, 2 * w
    return wait


def _step_through(
    problem: Problem,
    flow: Flow,
    where: dict[str, tuple[str, str]],
    segment: dict[str, str],
    members: dict[str, list[str]],
    ends: set[str],
    duration: Any,
    flight: dict[tuple[str, str], tuple[float, float]],
    rate: Any,
    size: dict[str, float],
    position: dict[str, int],
) -> float:
    """Play the flow alone on an empty site, moment by moment; return when the last thing ends."""
    medium = {(k.source, k.target): _medium(k) for k in problem.links}
    order = {(k.source, k.target): i for i, k in enumerate(problem.links)}
    missing = {s: {(t.name, s) for t in flow.tensors for c in t.consumers if segment[c] == s} for s in members}
    for t in flow.tensors:  # what a segment makes for itself it need not wait for
        missing[segment[t.producer]].discard((t.name, segment[t.producer]))
    first = {s: min(position[n] for n in ns) for s, ns in members.items()}
    running: dict[str, float] = {}
    on_the_way: list[tuple[float, str, str]] = []
    free_at: dict[str, float] = {}
    done: dict[str, float] = {}
    now = 0.0
    while len(done) < len(members):
        happened = True
        while happened:
            happened = False
            for s in members:  # those that occupy nothing end as soon as they have everything
                if s in ends and s not in done and not missing[s]:
                    running.setdefault(s, now)
            over = [s for s, end in running.items() if end == now and s not in done]
            for s in over:
                done[s] = now
                del running[s]
            for t in flow.tensors:
                if segment[t.producer] not in over:
                    continue
                happened = True
                home, mode = where[t.producer]
                targets = {where[c][0] for c in t.consumers}
                for target in sorted(targets, key=lambda d, home=home: order.get((home, d), -1)):
                    receivers = {segment[c]: where[c][1] for c in t.consumers if where[c][0] == target}
                    receivers.pop(segment[t.producer], None)
                    if target == home:
                        for s, m in receivers.items():
                            late = rate("s", t.name, m) * size[t.name] if m != mode else 0.0
                            on_the_way.append((now + late, t.name, s))
                        continue
                    seconds, latency = flight[t.name, target]
                    queue = medium.get((home, target), "none")
                    begin = max(now, free_at.get(queue, 0.0))
                    free_at[queue] = begin + seconds
                    on_the_way += [(begin + seconds + latency, t.name, s) for s in receivers]
            for when, name, s in on_the_way:
                if when == now and (name, s) in missing[s]:
                    missing[s].discard((name, s))
                    happened = True
            on_the_way = [a for a in on_the_way if a[0] > now]
            for device in problem.devices:
                if any(where[s][0] == device.name and s not in ends for s in running):
                    continue
                waiting = [
                    s
                    for s in members
                    if s not in ends
                    and s not in done
                    and s not in running
                    and where[s][0] == device.name
                    and not missing[s]
                ]
                if waiting:
                    s = min(waiting, key=first.__getitem__)
                    running[s] = now + duration(s)
                    happened = True
        moments = [*running.values(), *(a[0] for a in on_the_way)]
        if not moments:
            break
        now = min(moments)
    return max(done.values())
