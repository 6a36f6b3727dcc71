"""The commands `calibrate` and `replan`, one after the other."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from placer.plan import encode_plan
from tests.placer.cli.test_explain import command
from tests.placer.measuring.demo_evidence import DEMO, PLAN, as_planned, row

__all__ = ["command"]


def test_the_commands_calibrate_and_replan(command, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(encode_plan(PLAN))
    rows = []
    for e in as_planned(box=6.0):
        where = f"{e.device} -> {e.to}" if e.to else e.device
        rows.append(msgspec.structs.replace(row(e.kind, e.name, where, e.seconds), bytes=e.bytes))
    (tmp_path / "run.json").write_bytes(msgspec.json.encode({"flow": "inspect", "rows": rows}))
    code, out, err = command("calibrate", str(DEMO), "plan.json", "--observations", "run.json", "-o", "new.yaml")
    assert code == 0, err
    assert "Drifted: box." in out
    code, out, err = command("replan", "new.yaml", "plan.json", "-o", "new.json")
    assert code == 0, err
    assert "The old plan now costs" in out
    assert "It saves" in out
    assert "Next: placer deploy new.json" in out
    code, out, _ = command("replan", "new.yaml", "new.json", "--json")
    assert (code, json.loads(out)["changes"]) == (0, False)
    code, out, _ = command("replan", str(DEMO), "plan.json")
    assert "It stands: no plan that was found does better." in out
    code, _, err = command("calibrate", str(DEMO), "plan.json", "-o", "x.yaml")
    assert code == 2
    assert "no agent is known for device 'box', 'camera', 'gpu'" in err
    code, _, err = command("calibrate", str(DEMO), "plan.json", "-o", "x.yaml", "--observations", "plan.json")
    assert code == 2
    Path("empty.json").write_bytes(b"\n")
    code, out, err = command("calibrate", str(DEMO), "plan.json", "-o", "x.yaml", "--observations", "empty.json")
    assert (code, out) == (2, "")
    assert "empty.json: is empty; give what" in err
    assert not Path("x.yaml").exists()
