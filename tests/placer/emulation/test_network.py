"""Real hosts and a real wire: goodput and round trip are those that were asked for, and a cut cuts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAYLOAD = 1448 / 1500
"""Of what a link carries, the part that TCP leaves to its users."""


def measured(isolated, bytes_per_s, latency_s, size_bytes):
    script = Path(__file__).with_name("two_hosts.py")
    done = subprocess.run(
        [*isolated, sys.executable, str(script), str(bytes_per_s), str(latency_s), str(size_bytes)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("bytes_per_s", "latency_s", "size_bytes"), [(1.25e5, 0.02, 200_000), (1.25e7, 0.01, 10_000_000)]
)
def test_a_wire_is_as_fast_and_as_far_as_its_link(isolated, bytes_per_s, latency_s, size_bytes):
    found = measured(isolated, bytes_per_s, latency_s, size_bytes)
    # From above it is exact: bytes cannot be early. From below a busy machine has its say, and slow start.
    assert found["goodput_bytes_per_s"] <= bytes_per_s * PAYLOAD * 1.02
    assert found["goodput_bytes_per_s"] >= bytes_per_s * PAYLOAD * 0.5
    round_trips = found["round_trip_s"]
    assert len(round_trips) == 10
    assert round_trips[0] >= 2 * latency_s
    assert round_trips[0] <= 2 * latency_s + 0.02
    assert found["after_cut"] == ["nan"]
