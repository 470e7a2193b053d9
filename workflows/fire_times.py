"""The times of a cron expression."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

SECOND = timedelta(seconds=1)


def passed(cron: str, zone: str, after: datetime, until: datetime, most: int) -> list[datetime]:
    """The newest `most` times in (after, until], oldest first, in UTC."""
    from croniter import croniter

    start = until.replace(microsecond=0) + SECOND  # the time itself counts
    walk = croniter(cron, start.astimezone(ZoneInfo(zone)), second_at_beginning=True)
    found: list[datetime] = []
    while len(found) < most:
        time = walk.get_prev(datetime).astimezone(UTC)
        if time <= after:
            break
        found.append(time)
    return found[::-1]


def following(cron: str, zone: str, moment: datetime) -> datetime:
    """The first time after `moment`, in UTC."""
    from croniter import croniter

    walk = croniter(cron, moment.astimezone(ZoneInfo(zone)), second_at_beginning=True)
    time: datetime = walk.get_next(datetime)
    return time.astimezone(UTC)
