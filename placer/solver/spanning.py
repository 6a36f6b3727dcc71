"""Cycles and paths of a flow's graph, which decide how many edges of a segment can be counted."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from placer.index import FlowIndex


def fundamental_cycles(flow: FlowIndex) -> list[tuple[int, ...]]:
    """Return a cycle basis of the graph between working ops, direction ignored.

    Each cycle lists its ops in order around it; there is one for every edge beyond a spanning forest.
    """
    parent: dict[int, int] = {}
    depth: dict[int, int] = {}
    neighbours = {
        v: [w for w in (*flow.predecessors[v], *flow.successors[v]) if not flow.is_endpoint[w]]
        for v in range(flow.size)
        if not flow.is_endpoint[v]
    }
    for root in neighbours:
        if root in depth:
            continue
        parent[root], depth[root] = root, 0
        queue = deque([root])
        # Breadth first, so that the cycles found are short and their constraints strong.
        while queue:
            v = queue.popleft()
            for w in neighbours[v]:
                if w not in depth:
                    parent[w], depth[w] = v, depth[v] + 1
                    queue.append(w)
    cycles = []
    for v in neighbours:
        for u in flow.predecessors[v]:
            if flow.is_endpoint[u] or parent[v] == u or parent[u] == v:
                continue
            up, down = [u], [v]
            while up[-1] != down[-1]:
                deeper = up if depth[up[-1]] >= depth[down[-1]] else down
                deeper.append(parent[deeper[-1]])
            cycles.append((*up, *reversed(down[:-1])))
    return cycles


def ops_between(flow: FlowIndex, u: int, v: int) -> list[int]:
    """Return the ops strictly between u and v: after u and before v on some path; few for most edges."""
    if flow.successors[u] == (v,) or flow.predecessors[v] == (u,):
        return []
    rank = {w: i for i, w in enumerate(flow.topological)}
    after: set[int] = set()
    stack = [u]
    while stack:
        for w in flow.successors[stack.pop()]:
            if rank[w] < rank[v] and w not in after:
                after.add(w)
                stack.append(w)
    before: set[int] = set()
    stack = [v]
    while stack:
        for w in flow.predecessors[stack.pop()]:
            if rank[w] > rank[u] and w not in before:
                before.add(w)
                stack.append(w)
    return sorted(after & before)
