"""What Chalice packages: the functions and schedules that app.py declares, with .chalice/config.json's memory and timeouts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from chalice.app import Chalice
from chalice.config import Config
from chalice.deploy.appgraph import ApplicationGraphBuilder
from chalice.deploy.models import LambdaFunction, RestAPI, ScheduledEvent

API = "api_handler"
"""Chalice's name of the function that answers requests."""


@dataclass(frozen=True, slots=True)
class Function:
    """``name`` is Chalice's, ``handler`` what Lambda calls; ``memory`` in MB, ``timeout`` in seconds."""

    name: str
    handler: str
    runtime: str
    memory: int
    timeout: int

    @property
    def title(self) -> str:
        """Its name as part of the template's."""
        return title(self.name)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a function is called: an expression of EventBridge."""

    function: str
    expression: str
    description: str


@dataclass(frozen=True, slots=True)
class Declared:
    """All of it. ``log_days`` is how long logs are kept."""

    functions: tuple[Function, ...]
    schedules: tuple[Schedule, ...]
    log_days: int


class StageUnknown(Exception):
    """No stage of that name in .chalice/config.json."""


def declared(app: Chalice, project: Path, stage: str) -> Declared:
    """Raises StageUnknown; TypeError for an event source that the template has no part for."""
    settings = json.loads((project / ".chalice" / "config.json").read_text())
    if stage not in settings["stages"]:
        raise StageUnknown(f"no stage {stage!r} in .chalice/config.json: there are {', '.join(settings['stages'])}")
    config = Config(stage, user_provided_params={"chalice_app": app, "project_dir": str(project)}, config_from_disk=settings)
    functions: list[Function] = []
    schedules: list[Schedule] = []
    for resource in ApplicationGraphBuilder().build(config, stage).resources:
        match resource:
            case LambdaFunction():
                functions.append(_function(resource))
            case RestAPI():
                functions.append(_function(resource.lambda_function))
            case ScheduledEvent():
                functions.append(_function(resource.lambda_function))
                told = (resource.lambda_function.resource_name, resource.schedule_expression, resource.rule_description or "")
                schedules.append(Schedule(*told))
            case _:
                raise TypeError(f"the template has no part for {type(resource).__name__}")
    return Declared(tuple(functions), tuple(schedules), config.log_retention_in_days)


def title(name: str) -> str:
    """A function's name as part of the template's: ``run_jobs`` is RunJobs, Chalice's ``api_handler`` Api."""
    return "".join(word.capitalize() for word in re.split("_", name.removesuffix("_handler")))


def _function(model: LambdaFunction) -> Function:
    return Function(model.resource_name, model.handler, model.runtime, model.memory_size, model.timeout)
