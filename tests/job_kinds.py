"""Kinds of jobs for tests: one that takes as many steps as it is told, and one that never succeeds."""

from __future__ import annotations

from chalicelib.registry.upkeep.jobs import Kind, Parameter, Run


def _climb(run: Run) -> None:
    for step in range(run.parameters["steps"]):
        run.log(f"step {step}")
        run.count("steps")
        run.checkpoint(f"{step}")


def _stumble(run: Run) -> None:
    run.log("on the way")
    raise RuntimeError("there is no way on")


STEPS = Parameter("How many.", 3, 0, 2_000)

KINDS = (
    Kind("climb", "Goes up step by step", _climb, "0 0 3 * * *", {"steps": STEPS}),
    Kind("stumble", "Never gets anywhere", _stumble, "", retries=0),
)
