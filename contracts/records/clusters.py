"""Correlation clusters: of raw returns in selection, of synthetic streams in allocation."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SINGULAR = "CORR_SINGULAR"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ridge(_Record):
    """How one window's correlation was conditioned: R' = (1 - intensity) R + intensity I.

    `kappa_before` is null with its reason where R is singular to working precision.
    """

    window: int = Field(ge=1)
    intensity: float = Field(ge=0, lt=1)
    kappa_before: float | None = Field(ge=0)
    kappa_before_reason: Literal["CORR_SINGULAR"] | None = None
    kappa_after: float = Field(ge=1)


class ClusterMembers(_Record):
    """A cluster: its members, sorted, and their mean pairwise correlation (0 for one member)."""

    members: list[str] = Field(min_length=1)
    mean_rho: float = Field(ge=-1, le=1)


class _Partition(_Record):
    """Fields shared by both files.

    `linkage` rows are `[left, right, height, size]`: columns 0..n-1 are the members in sorted order,
    n+k is the result of row k; heights are in units of distance.
    """

    lookbacks_used: list[int]
    threshold: float = Field(ge=0)
    max_clusters: int = Field(ge=1)
    ridge: list[Ridge]
    clusters: dict[str, ClusterMembers]
    linkage: list[tuple[int, int, float, int]]

    @model_validator(mode="after")
    def _each_member_once(self) -> _Partition:
        members = [name for cluster in self.clusters.values() for name in cluster.members]
        if len(set(members)) != len(members):
            raise ValueError("a member stands in two clusters")
        return self

    def labels(self) -> dict[str, str]:
        """Member to cluster id."""
        return {name: key for key, cluster in self.clusters.items() for name in cluster.members}


class SelectionClusters(_Partition):
    """`data/selection_clusters.json`: clusters of the raw returns of the pool columns."""


class PortfolioClusters(_Partition):
    """`data/portfolio_clusters.json`: clusters of the synthetic streams."""
