"""The part of the SDK that an operator needs: schedules, and who is told when a run has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from quantctl.workflows.runtime import Places

if TYPE_CHECKING:
    from quantctl.scheduling import Change
    from quantctl.sdk import QuantSDK


class Operation:
    """Schedules and notices of one installation; `QuantSDK` has them as its own."""

    places: Places

    def apply_schedules(self, profiles: Sequence[str] = (), *, dry_run: bool = False) -> list[Change]:
        """Put the schedules that profiles declare in force; a second time changes nothing.

        profiles : only these (empty: all; a schedule that no profile declares any more is removed)

        Raises `SCHEDULE_MISSING`, `SCHEDULE_UNKNOWN`, `SCHEDULE_CYCLE`, and changes nothing then.
        """
        from quantctl.scheduling import apply

        return apply(cast("QuantSDK", self), profiles, dry_run=dry_run)

    def remove_schedules(self, profiles: Sequence[str]) -> list[Change]:
        """End the schedules of profiles (`SCHEDULE_UNKNOWN` where one has none, or is followed)."""
        from quantctl.scheduling import remove

        return remove(self.places, profiles)

    def schedules(self) -> list[dict[str, Any]]:
        """Schedules in force, each with its `next` time, its `last` one and what came of it."""
        from quantctl.scheduling import listed

        return listed(self.places)

    def schedule_times(self, profile: str | None = None, *, limit: int = 50) -> list[dict[str, Any]]:
        """Times that have fired, newest first, with the state of the run of each."""
        from quantctl.scheduling import times

        return times(self.places, profile, limit)

    # notices

    def notices(self, *, unsent: bool = False, limit: int = 200) -> list[dict[str, Any]]:
        """Who was, or is to be, told of the ends of runs, newest first; no URL and no token is in it."""
        from quantctl.notifying import listed

        return listed(self.places, unsent=unsent, limit=limit)

    def send_notices(self, run_id: str | None = None) -> list[dict[str, Any]]:
        """Try now what was not told, also what was given up; of one run (`NOTICE_UNKNOWN`) or all."""
        from quantctl.notifying import send

        return send(self.places, run_id)
