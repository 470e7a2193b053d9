"""Where feature values come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from quantctl.contracts.settings.section import AtLeastOne, NonNegative, Section


class FeatureStoreSettings(Section):
    """`feature_store.*`: vendor values and their ingest."""

    prefer: Literal["vendor", "local"] = Field(
        "vendor", description="Whether a vendor value may replace ours."
    )
    vendor_fresh_hours: NonNegative = Field(24, description="Oldest vendor value that is used, in hours.")
    workers: AtLeastOne = Field(3, description="Concurrent vendor requests.")
    throttle_s: NonNegative = Field(0.5, description="Pause between requests of one worker, in seconds.")
