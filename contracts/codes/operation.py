"""Codes of schedules and of what is told when a run ends."""

from __future__ import annotations

from quantctl.contracts.codes.row import Code

CODES: dict[str, Code] = {
    "SCHEDULE_CRON": Code(2, "A schedule's cron expression can't be read."),
    "SCHEDULE_ZONE": Code(2, "A schedule's time zone is not known."),
    "SCHEDULE_MISSING": Code(2, "A profile declares neither schedule.cron nor schedule.after."),
    "SCHEDULE_UNKNOWN": Code(2, "A profile named in a schedule, or on the command line, has no schedule."),
    "SCHEDULE_CYCLE": Code(2, "Schedules wait for each other."),
    "SCHEDULE_LEADER": Code(
        None, "A scheduled run did not start, because the one before it did not succeed."
    ),
    "SCHEDULE_MISSED": Code(None, "A scheduled time passed while no worker lived."),
    "NOTICE_FAILED": Code(3, "The end of a run could not be told."),
    "NOTICE_UNKNOWN": Code(3, "Nothing is to be told of a run."),
}
