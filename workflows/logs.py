"""Log lines of a run: JSON, one per line, to `logs/run.jsonl` beside its artifacts."""

from __future__ import annotations

import contextvars
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOG = "logs/run.jsonl"
_where: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("where", default=None)


class JsonLines(logging.Formatter):
    """One JSON object per record: ts, level, logger, msg, run_id, stage_id, trace_id, span_id."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, with the traceback as its own field."""
        where = _where.get() or {}
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "msg": record.getMessage(),
            "run_id": where.get("run_id"),
            "stage_id": where.get("stage_id"),
            "trace_id": where.get("trace_id"),
            "span_id": where.get("span_id"),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


@contextmanager
def located(**names: Any) -> Iterator[None]:
    """Add names (`stage_id`, `span_id`, ...) to every line logged inside."""
    token = _where.set((_where.get() or {}) | names)
    try:
        yield
    finally:
        _where.reset(token)


@contextmanager
def run_log(root: Path, run_id: str, trace_id: str) -> Iterator[None]:
    """Write what `quantctl` logs about this run to its own file."""
    path = root / LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(JsonLines())
    handler.addFilter(lambda _record: (_where.get() or {}).get("run_id") == run_id)
    logger = logging.getLogger("quantctl")
    logger.setLevel(min(logger.level or logging.INFO, logging.INFO))
    logger.addHandler(handler)
    try:
        with located(run_id=run_id, trace_id=trace_id):
            yield
    finally:
        logger.removeHandler(handler)
        handler.close()
