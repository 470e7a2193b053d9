"""Frames: the pandera contracts of Parquet artifacts and lake tables, one file per subject."""

from quantctl.contracts.frames import polars_only

polars_only.load()  # before any of them imports pandera
