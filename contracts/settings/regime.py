"""The regime detector."""

from __future__ import annotations

from pydantic import Field, model_validator

from quantctl.contracts.settings.section import AtLeastOne, NonNegative, Positive, Section, refusal


class RegimeSettings(Section):
    """`regime.*`: slice, labels and thresholds."""

    enabled: bool = Field(True, description="Whether the regime is detected; off reads NORMAL.")
    min_rows: AtLeastOne = Field(64, description="Fewest rows for a reading, in bars.")
    max_rows: AtLeastOne = Field(500, description="Rows of the decision slice, in bars.")
    crisis_score: Positive = Field(1.8, description="Score from which the regime is CRISIS.")
    quiet_score: Positive = Field(0.7, description="Score below which the regime is QUIET.")
    stress_high: Positive = Field(1.4, description="Score from which stress is high.")
    growth_t: Positive = Field(1.645, description="t statistic beyond which growth is up or down.")
    quiet_abs_vol: NonNegative = Field(
        0.001, description="Daily standard deviation that is QUIET regardless."
    )
    report_realized: bool = Field(False, description="Report the regime of test slices, for analysis only.")

    @model_validator(mode="after")
    def _ordered(self) -> RegimeSettings:
        if not self.quiet_score < 1 < self.stress_high < self.crisis_score:
            raise refusal("CONFIG_RANGE", "quiet_score < 1 < stress_high < crisis_score does not hold")
        if self.max_rows < self.min_rows:
            raise refusal("CONFIG_RANGE", "max_rows is below min_rows")
        return self
