"""A user's desk: a folder with a site and a model, and the `placer` command in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

CHECKOUT = Path(__file__).resolve().parents[2]

SITE = """
format: placer.site/1.0
name: bench
labels: [public, personal]
zones:
  - {name: floor, sees: personal, region: eu}
  - {name: cloud, sees: public, region: eu}
devices:
  - {name: camera, profile: rpi4b_armnn, zone: floor, memory_bytes: 1e9}
  - {name: box, profile: firefly_armnn_v22_11_opencl, zone: floor, memory_bytes: 4e9}
links:
  - {from: camera, to: box, profile: ethernet_1g, latency_s: 0.0003, both_ways: true}
flows:
  - name: look
    source: camera
    sink: box
    rate_hz: 2
    deadline_s: 1
    label: personal
    stages:
      - {name: m, model: model.onnx}
"""

_MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 3, 16, 16] x) => (float[1, 8, 16, 16] y)
{
    a = Conv <pads = [1, 1, 1, 1]> (x, w)
    b = Relu (a)
    c = Conv <pads = [1, 1, 1, 1]> (b, v)
    d = Relu (c)
    y = Add (b, d)
}
"""


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The only thing on standard output: one JSON document."""
        return json.loads(self.out)


class Desk:
    """A folder to run commands in; what they leave behind can be asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "temporary files"
        self.temporary.mkdir()
        self.write("site.yaml", SITE)
        onnx.save(small_model(), folder / "model.onnx")
        np.save(folder / "x.npy", self.x)

    @property
    def x(self) -> np.ndarray:
        """What x.npy holds: a real-valued picture."""
        return np.random.default_rng(5).normal(size=(1, 3, 16, 16)).astype(np.float32)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def site(self, old: str, new: str) -> None:
        """Replace site.yaml by one with a change."""
        assert old in SITE
        self.write("site.yaml", SITE.replace(old, new))

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TMPDIR": str(self.temporary)}
        return subprocess.Popen(
            [sys.executable, "-m", "placer", *map(str, arguments)],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def placer(self, *arguments: object, timeout_s: float = 120.0) -> Done:
        """Run a command to its end; a traceback is a failure whatever its exit code."""
        return finish(self.start(*arguments), timeout_s)

    def processes(self) -> list[str]:
        """Command lines of processes that were started from here and still run: agents keep their stores here."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.name.isdigit() else ""
            except OSError:
                continue
            if str(self.temporary) in line:
                found.append(line.replace("\0", " "))
        return found

    def leftovers(self) -> list[str]:
        return [p.name for p in self.temporary.iterdir()] + self.processes()


def finish(process: subprocess.Popen[str], timeout_s: float = 60.0) -> Done:
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert "Traceback" not in err
    return Done(code=process.returncode, out=out, err=err)


def small_model(seed: int = 0) -> onnx.ModelProto:
    """Two convolutions and a connection around the second."""
    rng = np.random.default_rng(seed)
    model = onnx.parser.parse_model(_MODEL)
    for name, shape in (("w", (8, 3, 3, 3)), ("v", (8, 8, 3, 3))):
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    return model


def large_problem(deadline_s: float = 0.35) -> dict[str, Any]:
    """A problem of 150 ops with branches on six devices: more than a few seconds' search."""
    rng = np.random.default_rng(1)
    count, devices = 150, [f"d{i}" for i in range(6)]
    endpoint = [{"device": "d0", "mode": "io", "seconds": 0, "joules": 0}]
    ops: list[dict[str, Any]] = [{"name": "source", "options": endpoint}]
    consumers: dict[int, set[str]] = {count - 1: {"sink"}}
    for i in range(count):
        seconds = rng.uniform(0.001, 0.01)
        options = [
            {
                "device": d,
                "mode": "cpu",
                "seconds": seconds / (k + 1) * rng.uniform(0.7, 1.3),
                "joules": seconds * rng.uniform(0.5, 2) * (1 + 0.3 * k),
            }
            for k, d in enumerate(devices)
        ]
        ops.append({"name": f"o{i}", "options": options})
        for back in {1, int(rng.integers(1, 13))}:
            consumers.setdefault(max(-1, i - back), set()).add(f"o{i}")
    ops.append({"name": "sink", "options": endpoint})
    tensors = [
        {
            "name": f"t{i}",
            "bytes": int(rng.integers(1_000, 200_000)),
            "producer": "source" if i < 0 else f"o{i}",
            "consumers": sorted(readers),
        }
        for i, readers in sorted(consumers.items())
    ]
    return {
        "format": "placer.problem/1.0",
        "objective": "energy_j",
        "devices": [{"name": d, "segment_s": 0.0005, "segment_j": 0.0005} for d in devices],
        "links": [
            {"from": a, "to": b, "latency_s": 0.001, "bytes_per_s": 3e7, "energy_j_per_byte": 2e-8}
            for a in devices
            for b in devices
            if a != b
        ],
        "flows": [{"name": "f", "rate_hz": 1, "deadline_s": deadline_s, "ops": ops, "tensors": tensors}],
    }
