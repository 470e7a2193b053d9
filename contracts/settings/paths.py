"""Where things lie. Left out of the manifest's logical hash."""

from __future__ import annotations

from pydantic import Field, SecretStr

from quantctl.contracts.settings.section import Secret, Section


class PathsSettings(Section):
    """`paths.*`: directories and the state database; an empty one lies below the data directory."""

    profiles_dir: str = Field(
        "profiles", description="Directory of profiles; the shipped ones stand behind it."
    )
    data_dir: str = Field("data", description="Root of everything that is written.")
    lakehouse_dir: str = Field("", description="The lakehouse; empty: <data_dir>/lakehouse.")
    export_dir: str = Field("", description="Scan exports; empty: <data_dir>/export.")
    artifacts_dir: str = Field("", description="Run directories; empty: <data_dir>/artifacts.")
    governance_dir: str = Field("", description="Charters; empty: <data_dir>/governance.")
    state_url: Secret = Field(
        SecretStr(""), description="State database; empty: SQLite below <data_dir>/state."
    )
