"""Frames: the pandera contracts of Parquet artifacts and lake tables, one file per subject."""
