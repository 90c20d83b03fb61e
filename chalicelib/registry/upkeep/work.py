"""What the registry does for itself again and again: the work of the kinds of jobs, in bounded steps.

Each function takes what it works with and a ``Run``. To stop anywhere and to begin again is harmless for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from chalicelib.registry.errors import JobUnknown
from chalicelib.registry.ports import Clock
from chalicelib.registry.pushes import Pushes
from chalicelib.registry.times import seconds
from chalicelib.registry.upkeep.audit import Audit
from chalicelib.registry.upkeep.garbage import Garbage
from chalicelib.registry.upkeep.jobs import ENDED, Job, Jobs, Run
from chalicelib.registry.upkeep.leftovers import Leftovers
from chalicelib.registry.upkeep.pairing import Pairing
from chalicelib.registry.uploads import Uploads

_AT_ONCE = 100


class RotatingKeys(Protocol):
    """The ring of keys that sign tokens."""

    def rotate(self) -> Sequence[str]:
        """Make the present key and, in time, the next one; their ids."""


def collect_garbage(garbage: Garbage, clock: Clock, run: Run) -> None:
    """Take away what nothing needs, for ``minutes`` minutes at most; 0 is until there is no more. The cursor is when they are
    over, in seconds since the epoch: whoever goes on has what is left of them."""
    minutes = run.parameters["minutes"]
    if not minutes:
        garbage.collect(run)
        return
    until = int(run.cursor or seconds(clock) + 60 * minutes)
    garbage.collect(run, datetime.fromtimestamp(until, UTC))


def expire_uploads(uploads: Uploads, pushes: Pushes, run: Run) -> None:
    """Drop uploads that were given up, and pushes that were interrupted."""
    _until_none("uploads", uploads.sweep, run)
    _until_none("pushes", pushes.sweep, run)


def audit_all(audit: Audit, pairing: Pairing, run: Run) -> None:
    """Compare all that is stored. Raises Unpaired."""
    pairing.check()
    audit.run(run)


def sweep_staging(leftovers: Leftovers, pairing: Pairing, run: Run) -> None:
    """Drop what crashes and lost events left in the store; the cursor is the last object looked at. Raises Unpaired."""
    pairing.check()
    leftovers.sweep(run, run.cursor)


def rotate_keys(ring: RotatingKeys, run: Run) -> None:
    """Have the next key for tokens ready in time."""
    run.log(f"keys: {', '.join(ring.rotate())}")


def trim_history(jobs: Jobs, clock: Clock, run: Run) -> None:
    """Forget jobs that ended more than ``days`` ago, and all but the ``keep`` that were made last of those that have ended.

    The cursor is how many of those were kept so far, and the last job looked at."""
    oldest = (clock.now() - timedelta(days=run.parameters["days"])).timestamp()
    seen, _, after = run.cursor.partition("/")
    kept = int(seen or 0)
    while entries := jobs.stretch(after, _AT_ONCE):
        for job in jobs.of(entries):
            after = job.id
            if _is_kept(job, oldest, kept < run.parameters["keep"]):
                kept += job.status in ENDED
            else:
                with suppress(JobUnknown):  # somebody else was quicker
                    jobs.delete(job.id)
                    run.count("jobs")
            run.checkpoint(f"{kept}/{after}")
        after = entries[-1].key.sort


def _is_kept(job: Job, oldest: float, has_room: bool) -> bool:
    return job.status not in ENDED or (has_room and (job.ended_at or 0) >= oldest)


def _until_none(what: str, sweep: Callable[[int], int], run: Run) -> None:
    for dropped in iter(partial(sweep, _AT_ONCE), 0):
        run.count(what, dropped)
        run.checkpoint()
        if dropped < _AT_ONCE:
            return
