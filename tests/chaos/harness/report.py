"""The counts of a campaign, for a person and for a machine."""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.trial import Tally


def report(tally: Tally, seed: int, states: list[str], missed: list[str], seconds: float) -> dict[str, Any]:
    """What happened; `passed` only if nothing differs, no reader failed and every control was noticed."""
    found = tally.found
    kills = tally.kills
    wrong = {
        "differing_bytes": found.differing_bytes,
        "lost_records": found.lost,
        "doubled_records": found.doubled,
        "reader_errors": len(tally.reader_errors),
        "failed_trials": len(tally.failures),
        "controls_unnoticed": len(missed),
    }
    return {
        "passed": not any(wrong.values()),
        "seed": seed,
        "states": states,
        "seconds": round(seconds, 1),
        "cpu_seconds_per_kill": round(tally.cpu_seconds / max(1, kills.total()), 3),
        "kills": kills.total(),
        "trials": tally.trials,
        "resumes": tally.resumes,
        "kills_by_state": _by(kills, 1),
        "kills_by_scenario": _by(kills, 0),
        "kills_by_kind": _by(kills, 2),
        "kills_by_point": _by(kills, 3),
        "bytes_compared": found.bytes,
        "records_compared": found.records,
        "projected_rows_compared": found.rows,
        "reader_queries": dict(sorted(tally.reads.items())),
        **wrong,
        "controls_missed": missed,
        "failures": tally.failures[:20],
        "errors_of_readers": tally.reader_errors[:20],
    }


def _by(kills: Counter[tuple[str, str, str, str]], place: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for key, number in kills.items():
        counts[key[place]] += number
    return dict(counts.most_common())


def text(result: dict[str, Any]) -> str:
    """The report as lines."""
    lines = []
    for name, value in result.items():
        if isinstance(value, dict):
            lines.append(f"{name.replace('_', ' ')}:")
            lines += [f"  {number:>8,}  {key}" for key, number in value.items()]
        elif isinstance(value, list):
            lines.append(f"{name.replace('_', ' ')}: {', '.join(map(str, value)) or 'none'}")
        else:
            shown = f"{value:,}" if isinstance(value, (int, float)) and not isinstance(value, bool) else value
            lines.append(f"{name.replace('_', ' ')}: {shown}")
    return "\n".join(lines)
