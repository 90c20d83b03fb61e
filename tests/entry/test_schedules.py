"""The scheduled function: how long it has, and that a whole registry's jobs run by it, on one machine from the first start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

FIRST_TICKS = """
import json
import app
from chalicelib import wiring

class Context:
    def __init__(self, seconds):
        self.seconds = seconds
    def get_remaining_time_in_millis(self):
        return self.seconds * 1000

EVENT = dict.fromkeys(["version", "account", "region", "detail", "detail-type", "source", "time", "id", "resources"], "")
told = {"no time": app.run_jobs(EVENT, Context(20)), "enough": app.run_jobs(EVENT, Context(600))}
told["again"] = app.schedules.run_jobs({})
told["jobs"] = {job.kind: job.status for job in wiring.jobs().page("", 100)}
for kind in sorted(wiring.jobs().kinds):
    if kind not in told["jobs"]:
        wiring.jobs().create(kind, {}, "admin")
told["all"] = app.schedules.run_jobs({})
told["ends"] = {job.kind: [job.status, job.error] for job in wiring.jobs().page("", 100)}
told["keys"] = len(wiring.table().query("keys/" + wiring.key_ring()._partition.removeprefix("keys/")))
told["schedules"] = {cron.kind: cron.next_at is not None for cron in wiring.crons().list()}
print(json.dumps(told))
"""


def test_each_kind_of_job_runs_and_keys_rotate_at_the_first_start(tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "AWS_"))}
    environment = {**inherited, "SLIPWAY_PUBLIC_URL": "http://127.0.0.1:5000", "SLIPWAY_DATA": str(tmp_path)}
    command = [sys.executable, "-c", FIRST_TICKS]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert told["no time"] == {"run": 0}
    assert told["enough"] == {"run": 1}
    assert told["again"] == {"run": 0}
    assert told["jobs"] == {"rotate-keys": "done"}
    assert told["keys"] >= 2
    assert told["all"] == {"run": len(told["ends"]) - 1}
    assert {kind: end for kind, end in told["ends"].items() if end != ["done", ""]} == {}
    assert set(told["schedules"]) == set(told["ends"])
    assert all(told["schedules"].values())
