"""A flow's costs as arrays over places, so that bounds are a few array operations each.

A *place* is a (device, mode) pair; ops, edges and segments are priced by place. The letters in shapes: V ops,
P places, T tensors, R rows (`placer.solver.exact.rows`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from placer.solver.exact.rows import Array, Rows, build_rows, keep_rows, transfer_shares

if TYPE_CHECKING:
    from placer.index import FlowIndex, ProblemIndex

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FlowNumbers:
    """Everything the bounds need to know of one flow."""

    index: ProblemIndex
    flow: FlowIndex
    rows: Rows
    places: tuple[tuple[int, int], ...]
    """(device, mode) of each place."""
    device_of: npt.NDArray[np.int64]
    """(P,) device of each place."""
    option_at: npt.NDArray[np.int64]
    """(V, P) option position of each op at each place, or -1."""
    seconds: Array
    """(V, P) seconds of each op; 0 where it has no option."""
    op_rows: Array
    """(V, P, R) what an op adds to each row, without its part of the latency."""
    segment_s: Array
    """(P,) seconds that starting one segment takes."""
    segment_share_rows: Array
    """(P, R) what a segment of share 1 adds to each row."""
    segment_busy_rows: Array
    """(P, R) what a segment adds whatever its share: the waiting that its seconds replace."""
    transfer_rows: Array
    """(P, P, R) what one transfer or conversion adds, per unit of share."""
    transfer_byte_rows: Array
    """(P, P, R) what each byte of it adds, per unit of share."""
    transfer_s: Array
    """(P, P) latency of the link."""
    byte_s: Array
    """(P, P) seconds per byte, of the link or of a conversion."""
    reachable: Flags
    """(P, P) whether data may go from one place to the other."""
    link_of: npt.NDArray[np.int64]
    """(P, P) link between two places, or -1."""
    tensor_bytes: Array
    """(T, P) bytes of each tensor by its producer's place."""
    available: Flags
    """(V, P) options that neither a missing place nor a privacy rule nor memory alone excludes."""
    serial: bool
    """Whether the flow's latency is the sum of everything instead of the makespan."""

    def choice_of(self, places: npt.NDArray[np.int64]) -> tuple[int, ...]:
        """Translate a place per op into a choice."""
        return tuple(int(self.option_at[v, p]) for v, p in enumerate(places))


def build_numbers(index: ProblemIndex, flow: FlowIndex) -> FlowNumbers:
    """Arrange a flow's costs by place."""
    rows = build_rows(index, flow)
    places = tuple(sorted({(o.device, o.mode) for options in flow.options for o in options}))
    at = {place: p for p, place in enumerate(places)}
    size, count = flow.size, len(places)
    option_at = np.full((size, count), -1, dtype=np.int64)
    seconds = np.zeros((size, count))
    op_rows = np.zeros((size, count, rows.count))
    ops = np.array([v for v, options in enumerate(flow.options) for _ in options], dtype=np.int64)
    every = [option for options in flow.options for option in options]
    # One line for each option: where it stands, then its figures.
    on = np.array([at[o.device, o.mode] for o in every], dtype=np.int64)
    device = np.array([o.device for o in every], dtype=np.int64)
    own_s, own_j, cost = (
        np.array(figures, dtype=np.float64)
        for figures in ([o.seconds for o in every], [o.joules for o in every], [o.accuracy_cost for o in every])
    )
    share = np.array(flow.share)[ops]
    option_at[ops, on] = [o for options in flow.options for o in range(len(options))]
    seconds[ops, on] = own_s
    op_rows[ops, on] = (
        rows.energy.T[device] * (own_j * share - rows.wait_w[device] * own_s)[:, None]
        + rows.device_s.T[device] * (share * own_s)[:, None]
        + rows.accuracy * cost[:, None]
        + rows.weights.T[device] * rows.weights_bytes[ops][:, None]
    )
    devices = np.array([d for d, _ in places], dtype=np.int64)
    segment_s, segment_j = np.array([index.start[place] for place in places]).reshape(-1, 2).T
    edges = _edges(index, rows, places)
    return FlowNumbers(
        index=index,
        flow=flow,
        rows=rows,
        places=places,
        device_of=devices,
        option_at=option_at,
        seconds=seconds,
        op_rows=op_rows,
        segment_s=segment_s,
        segment_share_rows=rows.energy[:, devices].T * segment_j[:, None]
        + rows.device_s[:, devices].T * segment_s[:, None],
        segment_busy_rows=-rows.energy[:, devices].T * (rows.wait_w[devices] * segment_s)[:, None],
        transfer_rows=edges[0],
        transfer_byte_rows=edges[1],
        transfer_s=edges[2],
        byte_s=edges[3],
        reachable=edges[4],
        link_of=edges[5],
        tensor_bytes=_tensor_bytes(flow, at),
        available=_available(index, flow, option_at, devices),
        serial=flow.flow.latency == "serial",
    )


def _edges(
    index: ProblemIndex, rows: Rows, places: tuple[tuple[int, int], ...]
) -> tuple[Array, Array, Array, Array, Flags, npt.NDArray[np.int64]]:
    """Price what moves between each two places: a transfer, or a conversion on one device."""
    count = len(places)
    fixed, per_byte = np.zeros((count, count, rows.count)), np.zeros((count, count, rows.count))
    latency_s, byte_s = np.zeros((count, count)), np.zeros((count, count))
    reachable = np.ones((count, count), dtype=bool)
    link_of = np.full((count, count), -1, dtype=np.int64)
    for p, (d, m) in enumerate(places):
        for q, (e, n) in enumerate(places):
            if d == e:
                if m != n:
                    s_per_byte, j_per_byte = index.conversion.get((d, m, n), (0.0, 0.0))
                    per_byte[p, q] = rows.energy[:, d] * j_per_byte
                    byte_s[p, q] = s_per_byte
                continue
            k = index.link_at.get((d, e))
            if k is None:
                reachable[p, q] = False
                continue
            link, joule = index.links[k], transfer_shares(index, rows.energy, k)
            link_of[p, q] = k
            fixed[p, q] = joule * link.energy_j_per_transfer
            per_byte[p, q] = joule * link.energy_j_per_byte + rows.medium_s[:, index.medium_of[k]] / link.bytes_per_s
            latency_s[p, q], byte_s[p, q] = link.latency_s, 1.0 / link.bytes_per_s
    return fixed, per_byte, latency_s, byte_s, reachable, link_of


def _tensor_bytes(flow: FlowIndex, at: dict[tuple[int, int], int]) -> Array:
    sizes = np.zeros((len(flow.tensors), len(at)))
    for t, tensor in enumerate(flow.tensors):
        sizes[t] = tensor.bytes
        for option in flow.options[tensor.producer]:
            sizes[t, at[option.device, option.mode]] = option.output_bytes.get(t, tensor.bytes)
    return sizes


def _available(
    index: ProblemIndex, flow: FlowIndex, option_at: npt.NDArray[np.int64], devices: npt.NDArray[np.int64]
) -> Flags:
    """Exclude what can never be chosen: a tensor's maker or reader on a device that must not hold it."""
    free: Flags = option_at >= 0
    for v, op in enumerate(flow.flow.ops):
        banned: set[int] = set()
        for t in (*flow.inputs[v], *flow.outputs[v]):
            banned |= flow.tensors[t].not_on
        for d, device in enumerate(index.devices):
            room = device.memory_bytes
            # A factor twice the rows' slack, so that this never excludes what the referee admits.
            too_big = room is not None and op.weights_bytes + op.workspace_bytes > room * (1 + 4e-9)
            if d in banned or too_big:
                free[v] &= devices != d
    return free


def with_rows(n: FlowNumbers, keep: Flags) -> FlowNumbers:
    """Return the same numbers with only the rows that `keep` marks; row 0 must be among them."""
    return replace(
        n,
        rows=keep_rows(n.rows, keep),
        op_rows=np.ascontiguousarray(n.op_rows[:, :, keep]),
        segment_share_rows=n.segment_share_rows[:, keep],
        segment_busy_rows=n.segment_busy_rows[:, keep],
        transfer_rows=np.ascontiguousarray(n.transfer_rows[:, :, keep]),
        transfer_byte_rows=np.ascontiguousarray(n.transfer_byte_rows[:, :, keep]),
    )
