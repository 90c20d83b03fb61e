"""What a schedule's fields mean, as cronsim reads them: Debian's cron, with seconds."""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError


class CronTimes:
    """``registry.crons.Times``, on one machine and on AWS alike."""

    def after(self, schedule: str, moment: datetime) -> datetime | None:
        """See ``Times.after``. It looks fifty years ahead."""
        try:
            return next(CronSim(schedule, moment.astimezone(UTC)), None)
        except CronSimError as error:
            raise ValueError(str(error).replace("Bad ", "no such ")) from error  # hour 25, or a 30th of February
        except (AssertionError, TypeError) as error:  # a list of weekdays in a month, with a step
            raise ValueError("a step fits only a range or *") from error
