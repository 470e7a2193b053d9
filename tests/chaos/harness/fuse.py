"""What a life reports while it runs, and where it kills itself."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from typing import Any

from quantctl.lake import fault_points


class Fuse:
    """Writes the name of every fault point that this process reaches to `pipe`; SIGKILL at one of them.

    plan : `{}` only reports; `{"reach": k}` dies at the k-th point, whichever it is; `{"point": name,
        "nth": n}` dies when that point is reached for the n-th time, `{"spared": names}` at the first
        point that is not among these. Counted from 1.
    """

    def __init__(self, pipe: int, plan: dict[str, Any]) -> None:
        self._pipe, self._plan = pipe, plan
        self._seen: Counter[str] = Counter()
        self._alone = threading.Lock()

    def arm(self) -> None:
        """Report and kill from now on."""
        point = self._plan.get("point")
        assert point is None or point in fault_points.POINTS, point
        fault_points.arm(self.reached)

    def reached(self, name: str) -> None:
        """A point is reached, in whichever thread."""
        with self._alone:
            self._seen[name] += 1
            os.write(self._pipe, f"{name}\n".encode())
            if self._due(name):
                os.kill(os.getpid(), signal.SIGKILL)

    def _due(self, name: str) -> bool:
        if "point" in self._plan:
            return name == self._plan["point"] and self._seen[name] == self._plan.get("nth", 1)
        if "spared" in self._plan:
            return name not in self._plan["spared"]
        return self._plan.get("self", True) and self._seen.total() == self._plan.get("reach", 0)
