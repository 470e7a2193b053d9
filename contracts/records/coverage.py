"""Coverage artifacts: how much of what a DataOps stage was asked for it obtained."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from quantctl.contracts.settings.section import refusal

Stage = Literal["discovery", "price_ingest", "repair", "metadata", "feature_ingest"]
Source = Literal["tradingview", "binance", "import", "simulate", "local"]


class Failure(BaseModel):
    """One symbol that a pass did not obtain, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    symbol: str
    code: str


class Attempt(BaseModel):
    """One pass. Sources without a network make one, of no measured duration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: int = Field(ge=1)
    requested: int = Field(ge=0)
    fetched: int = Field(ge=0)
    failed: int = Field(ge=0)
    duration_s: float = Field(ge=0)
    started_at: str
    failures: list[Failure]


class Coverage(BaseModel):
    """A coverage artifact; counts that contradict each other are `COVERAGE_SCHEMA`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    run_id: str = Field(min_length=1)
    profile: str = Field(min_length=1)
    stage: Stage
    source: Source
    expected: int = Field(ge=0)
    covered: int = Field(ge=0)
    skipped_up_to_date: int = Field(ge=0)
    coverage: float = Field(ge=0, le=1)
    attempts: list[Attempt] = Field(min_length=1)
    failed_symbols: list[str]
    exceptions: list[dict[str, Any]]
    status: Literal["PASS", "WARN", "FAIL"]
    evidence_sha256: str | None = None  # of the import report

    @model_validator(mode="after")
    def _adds_up(self) -> Coverage:
        wanted = self.expected - self.skipped_up_to_date
        for index, attempt in enumerate(self.attempts, start=1):
            ok = attempt.index == index and attempt.fetched + attempt.failed == attempt.requested
            if not ok or attempt.requested != wanted or len(attempt.failures) != attempt.failed:
                raise refusal("COVERAGE_SCHEMA", f"attempt {index} does not add up")
            wanted = attempt.failed
        failed = sorted({failure.symbol for failure in self.attempts[-1].failures})
        share = self.covered / self.expected if self.expected else 0.0
        if failed != self.failed_symbols or self.covered != self.expected - len(failed):
            raise refusal("COVERAGE_SCHEMA", "failed symbols are not those of the last attempt")
        if abs(share - self.coverage) > 1e-8:
            raise refusal("COVERAGE_SCHEMA", "coverage is not covered / expected")
        return self


def offline_coverage(
    *, run_id: str, profile: str, stage: Stage, source: Source, expected: list[str], failed: dict[str, str],
    started_at: str, strict: bool, evidence_sha256: str | None = None,
) -> Coverage:  # fmt: skip
    """Coverage of a source without a network: one attempt; `failed` maps symbol to code."""
    covered = len(expected) - len(failed)
    share = covered / len(expected) if expected else 0.0
    status: Literal["PASS", "WARN", "FAIL"] = (
        "PASS" if share == 1.0 else "FAIL" if strict or not covered else "WARN"
    )
    failures = [Failure(symbol=symbol, code=failed[symbol]) for symbol in sorted(failed)]
    attempt = Attempt(
        index=1, requested=len(expected), fetched=covered, failed=len(failed), duration_s=0.0,
        started_at=started_at, failures=failures,
    )  # fmt: skip
    return Coverage(
        run_id=run_id, profile=profile, stage=stage, source=source, expected=len(expected), covered=covered,
        skipped_up_to_date=0, coverage=share, attempts=[attempt], failed_symbols=sorted(failed),
        exceptions=[], status=status, evidence_sha256=evidence_sha256,
    )  # fmt: skip
