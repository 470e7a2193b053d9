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


class ToOpenTelemetry(logging.Handler):
    """Passes lines to the OpenTelemetry API, in the trace of the run that logged them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a record; its attributes are those of a JSON line, never the arguments of the call."""
        from opentelemetry import context
        from opentelemetry._logs import LogRecord, SeverityNumber, get_logger

        where = _where.get() or {}
        names = {"quant.run_id": where.get("run_id"), "quant.stage_id": where.get("stage_id")}
        severity = SeverityNumber(min(record.levelno // 10 * 4 + 1, 21))
        told = LogRecord(
            timestamp=int(record.created * 1e9), context=context.get_current(),
            severity_text=record.levelname, severity_number=severity,
            body=record.getMessage(), attributes={key: value for key, value in names.items() if value},
        )  # fmt: skip
        get_logger(record.name).emit(told)


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
    """Write what is logged while this run executes to its own file; of third parties, warnings only."""
    handler = _RunFile(root / LOG, run_id)
    ours, others = logging.getLogger("quantctl"), logging.getLogger()
    ours.setLevel(min(ours.level or logging.INFO, logging.INFO))
    for logger in (ours, others):
        logger.addHandler(handler)
    try:
        with located(run_id=run_id, trace_id=trace_id):
            yield
    finally:
        for logger in (ours, others):
            logger.removeHandler(handler)
        handler.close()


class _RunFile(logging.FileHandler):
    """The log file of one run; a line that can't be written is lost and stops nothing."""

    def __init__(self, path: Path, run_id: str) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self._run_id = run_id
        self.setFormatter(JsonLines())
        self.addFilter(self._of_this_run)

    def _of_this_run(self, record: logging.LogRecord) -> bool:
        if not is_ours(record) and record.levelno < logging.WARNING:
            return False
        return (_where.get() or {}).get("run_id") == self._run_id

    def emit(self, record: logging.LogRecord) -> None:
        """Append the line of a record; the directory is made with the first one."""
        try:
            Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
            super().emit(record)
        except OSError:
            return

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say nothing: what the run itself writes next tells of the disk."""


def is_ours(record: logging.LogRecord) -> bool:
    """Whether a record comes from the product; of others only warnings are kept."""
    return record.name.partition(".")[0] == "quantctl"
