"""Governance: signing and analysis-only mode."""

from __future__ import annotations

from pydantic import Field

from quantctl.contracts.settings.section import Positive, Secret, Section


class GovernanceSettings(Section):
    """`governance.*`: identity, key and limits of derivations."""

    analysis_only: bool = Field(False, description="Refuse everything but analysis.")
    key_file: Secret | None = Field(None, description="Path of the signing key.")
    actor: str | None = Field(None, description="Identity that acts.")
    derive_timeout_s: Positive = Field(3600, description="Longest derivation, in seconds.")
