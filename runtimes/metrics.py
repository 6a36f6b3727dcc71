"""What an agent counts, and how a scrape reads it: seconds, bytes, joules, queues, requests by outcome, health.

Counting is a few additions under one lock; whatever can be read when it is asked for (queues, plans, the process) is
read then. Joules of segments and hops are modelled: the plan's watts above idle times the measured seconds, and the
plan's joules per message. Where a plan does not tell them there is no sample, never a zero.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runtimes.budget import WINDOWS_S, EnergyBudget
from runtimes.exposition import Page, labels

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from profiles.meters import Meter
    from runtimes.assignment import Assignment
    from runtimes.epochs import State
    from runtimes.exposition import Labels

_LOG = logging.getLogger(__name__)
# Upper bounds in seconds, 1-2.5-5 from 100 us to 10 s.
_BOUNDS_S = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MODELLED = ("origin", "modelled")


@dataclass(slots=True)
class _Seconds:
    counts: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_BOUNDS_S, seconds)] += 1
        self.total_s += seconds


@dataclass(slots=True)
class _Work:
    seconds: _Seconds = field(default_factory=_Seconds)
    queue_s: float = 0.0
    size_bytes: int = 0
    joules: float | None = None

    def add(self, seconds: float, queue_s: float, size_bytes: int, joules: float) -> None:
        self.seconds.add(seconds)
        self.queue_s += queue_s
        self.size_bytes += size_bytes
        if not math.isnan(joules):
            self.joules = joules + (self.joules or 0.0)


@dataclass(slots=True)
class _FlowEnergy:
    joules: float = 0.0
    outcomes: int = 0
    budget: EnergyBudget = field(default_factory=EnergyBudget)


class Metrics:
    """The counters of one agent.

    Parameters
    ----------
    meter
        Measures the whole device; None where it has no meter.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        self._lock = threading.Lock()
        self._segments: dict[tuple[str, str], _Work] = {}
        self._hits: dict[tuple[str, str], _Work] = {}
        self._misses: dict[tuple[str, str], int] = {}
        self._hops: dict[tuple[str, str, str], _Work] = {}
        self._lost_hops: dict[tuple[str, str, str, str], int] = {}
        self._requests: dict[tuple[str, str], _Seconds] = {}
        self._energy: dict[str, _FlowEnergy] = {}
        self._meter = meter
        self._metered_j = 0.0
        if meter is not None:
            meter.begin_window()

    def executed(
        self, flow: str, segment: str, *, seconds: float, queue_s: float, size_bytes: int, joules: float,
        hit: bool | None = None,
    ) -> None:  # fmt: skip
        """Count one execution, or a hit; ``joules`` is NaN where the plan does not tell them."""
        with self._lock:
            of = self._hits if hit else self._segments
            (of.get((flow, segment)) or of.setdefault((flow, segment), _Work())).add(
                seconds, queue_s, size_bytes, joules
            )
            if hit is False:
                self._misses[flow, segment] = self._misses.get((flow, segment), 0) + 1

    def sent(self, flow: str, after: str, to: str, *, seconds: float, size_bytes: int, joules: float) -> None:
        """Count one acknowledged message."""
        key = (flow, after, to)
        with self._lock:
            work = self._hops.get(key) or self._hops.setdefault(key, _Work())
            work.add(seconds, 0.0, size_bytes, joules)

    def lost(self, flow: str, after: str, to: str, status: str) -> None:
        """Count one message that was not acknowledged."""
        with self._lock:
            self._lost_hops[flow, after, to, status] = self._lost_hops.get((flow, after, to, status), 0) + 1

    def answered(self, model: str, status: str, seconds: float) -> None:
        """Count one request of a client; ``model`` is empty where it named none that is here."""
        key = (model, status)
        with self._lock:
            (self._requests.get(key) or self._requests.setdefault(key, _Seconds())).add(seconds)

    def spent(self, flow: str, joules: float, *, succeeded: bool) -> None:
        """Count what one finished request of a flow spent on all devices, as far as word of it came back."""
        if math.isnan(joules):
            return
        with self._lock:
            energy = self._energy.setdefault(flow, _FlowEnergy())
            energy.joules += joules
            energy.outcomes += succeeded
            energy.budget.add(joules, succeeded=succeeded)

    def keep(self, flows: Collection[str]) -> None:
        """Forget all but these flows: a device that gets plan after plan must not count for ever more names."""
        with self._lock:
            self._segments = {key: work for key, work in self._segments.items() if key[0] in flows}
            self._hits = {key: work for key, work in self._hits.items() if key[0] in flows}
            self._misses = {key: count for key, count in self._misses.items() if key[0] in flows}
            self._hops = {key: work for key, work in self._hops.items() if key[0] in flows}
            self._lost_hops = {key: count for key, count in self._lost_hops.items() if key[0] in flows}
            self._energy = {flow: energy for flow, energy in self._energy.items() if flow in flows}
            known = {"", *flows, *(segment for _, segment in self._segments)}
            self._requests = {key: seconds for key, seconds in self._requests.items() if key[0] in known}

    def page(self, held: tuple[tuple[Assignment, State], ...], queues: Mapping[str, Callable[[], int]]) -> str:
        """Write everything as one answer to a scrape.

        Parameters
        ----------
        held
            The plans on this device, with their states.
        queues
            What reads the length of each queue, by its name.
        """
        page = Page()
        with self._lock:
            self._write_work(page)
            self._write_requests(page)
            self._write_energy(page, held)
            self._write_meter(page)
        page.write(
            "placer_queue_length", "gauge", "What waits or is open on this device.",
            [(labels({"queue": name}), read()) for name, read in queues.items()],
        )  # fmt: skip
        _write_held(page, held)
        _write_process(page)
        return page.text()

    def _write_work(self, page: Page) -> None:
        segments = {labels({"flow": f, "segment": s}): work for (f, s), work in self._segments.items()}
        hops = {labels({"flow": f, "after": a, "to": to}): work for (f, a, to), work in self._hops.items()}
        _write_each(page, "placer_segment", "executions of a segment", segments)
        page.write(
            "placer_segment_queue_seconds_total", "counter",
            "Time from a segment's inputs complete to its start.",
            [(label, work.queue_s) for label, work in segments.items()],
        )  # fmt: skip
        hits = {labels({"flow": f, "segment": s}): work for (f, s), work in self._hits.items()}
        _write_each(page, "placer_hit", "hits: kept results of a segment that were found", hits)
        page.write(
            "placer_misses_total", "counter", "Executions of a segment whose result was looked for and not there.",
            [(labels({"flow": f, "segment": s}), count) for (f, s), count in self._misses.items()],
        )  # fmt: skip
        _write_each(page, "placer_hop", "messages to another device, until their acknowledgement", hops)
        page.write(
            "placer_hops_lost_total", "counter", "Messages that were not acknowledged.",
            [(labels(dict(zip(("flow", "after", "to", "status"), key, strict=True))), count)
             for key, count in self._lost_hops.items()],
        )  # fmt: skip

    def _write_requests(self, page: Page) -> None:
        page.write_histogram(
            "placer_request_seconds", "Requests of clients, by what came of them.", _BOUNDS_S,
            [(labels({"model": model, "outcome": status}), s.counts, s.total_s)
             for (model, status), s in self._requests.items()],
        )  # fmt: skip

    def _write_energy(self, page: Page, held: tuple[tuple[Assignment, State], ...]) -> None:
        page.write(
            "placer_flow_joules_total", "counter",
            "What requests of a flow that begins here spent above idle on all devices, failed ones too.",
            [((("flow", flow), _MODELLED), energy.joules) for flow, energy in self._energy.items()],
        )  # fmt: skip
        page.write(
            "placer_flow_outcomes_total", "counter", "Requests of a flow that begins here which got their result.",
            [(labels({"flow": flow}), energy.outcomes) for flow, energy in self._energy.items()],
        )  # fmt: skip
        objectives_j = {
            flow.name: flow.energy_slo_j
            for assignment, state in held if state == "active"
            for flow in assignment.flows if flow.source == assignment.device and flow.energy_slo_j is not None
        }  # fmt: skip
        page.write(
            "placer_flow_energy_slo_joules", "gauge", "Joules that one outcome of a flow may cost.",
            [(labels({"flow": flow}), objective_j) for flow, objective_j in objectives_j.items()],
        )  # fmt: skip
        rates = [
            (labels({"flow": flow, "window": window}), self._energy[flow].budget.burn_rate(objective_j, seconds))
            for flow, objective_j in objectives_j.items() if flow in self._energy
            for window, seconds in WINDOWS_S.items()
        ]  # fmt: skip
        page.write(
            "placer_flow_energy_burn_rate", "gauge", "Joules spent over joules that the objective allows.",
            [(label, rate) for label, rate in rates if rate is not None],
        )  # fmt: skip

    def _write_meter(self, page: Page) -> None:
        if self._meter is None:
            return
        from profiles.errors import MeterError

        try:
            window = self._meter.end_window()
            self._meter.begin_window()
        except MeterError as error:
            # No figure is right from here on: none is given.
            _LOG.error("the meter is not read any more: %s", error)
            self._meter = None
            return
        self._metered_j += window.joules
        which = labels({"origin": "measured", "meter": window.source, "boundary": window.boundary})
        page.write(
            "placer_device_joules_total", "counter", "What the meter counted, idle power and others' work too.",
            [(which, self._metered_j)],
        )  # fmt: skip


def _write_each(page: Page, name: str, of: str, work: Mapping[Labels, _Work]) -> None:
    page.write_histogram(
        f"{name}_seconds", f"Duration of {of}.", _BOUNDS_S,
        [(label, each.seconds.counts, each.seconds.total_s) for label, each in work.items()],
    )  # fmt: skip
    page.write(
        f"{name}_bytes_total", "counter", f"Bytes of tensors of {of}.",
        [(label, each.size_bytes) for label, each in work.items()],
    )  # fmt: skip
    page.write(
        f"{name}_joules_total", "counter", f"Joules above idle of {of}.",
        [((*label, _MODELLED), each.joules) for label, each in work.items() if each.joules is not None],
    )  # fmt: skip


def _write_held(page: Page, held: tuple[tuple[Assignment, State], ...]) -> None:
    page.write(
        "placer_plan_held", "gauge", "1 for each plan on this device.",
        [(labels({"plan": a.plan, "epoch": str(a.epoch), "state": state}), 1) for a, state in held],
    )  # fmt: skip
    page.write(
        "placer_segment_ready", "gauge", "1 for each segment that is loaded, 0 for one that is only staged.",
        [
            (labels({"segment": s.name, "plan": a.plan, "epoch": str(a.epoch)}), int(state != "staged"))
            for a, state in held for s in a.segments
        ],
    )  # fmt: skip


def _write_process(page: Page) -> None:
    """Write what the Prometheus clients write of a process, under their names."""
    page.write("process_cpu_seconds_total", "counter", "Processor time of this process.", [((), time.process_time())])
    try:
        resident_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError):
        return
    page.write(
        "process_resident_memory_bytes", "gauge", "Memory of this process.",
        [((), resident_pages * os.sysconf("SC_PAGE_SIZE"))],
    )  # fmt: skip
