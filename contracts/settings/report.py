"""The forensic report."""

from __future__ import annotations

from pydantic import Field

from quantctl.contracts.settings.section import Section


class ReportSettings(Section):
    """`report.*`: what the report contains."""

    html: bool = Field(True, description="Write the HTML page with plots beside the Markdown report.")
