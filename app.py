"""The Chalice application: opens the doors. What each does is behind it, in chalicelib."""
# ruff: noqa: E402

from __future__ import annotations

import gc

gc.disable()  # all that is loaded here stays: to look through it for garbage, over and over, takes 5% of a cold start

from chalicelib import wiring
from chalicelib.entry import events, first_start, schedules
from chalicelib.entry.application import Application
from chalicelib.entry.distribution import distribution_door
from chalicelib.entry.log import Logged, RequestLog
from chalicelib.entry.management import management_door
from chalicelib.entry.token import token_door

app = Application(
    "slipway",
    (
        distribution_door(wiring.registry(), wiring.tokens(), wiring.settings().realm, wiring.settings().service),
        token_door(wiring.token_services()),
        management_door(wiring.management, wiring.table()),
    ),
    RequestLog(Logged(wiring.settings().log)),
)

run_jobs = app.schedule("rate(1 minute)", description="Runs the jobs that are due")(schedules.run_jobs)
adopt = app.lambda_function()(events.adopt)
ensure_admin = app.lambda_function()(first_start.ensure_admin)

gc.freeze()
gc.enable()
