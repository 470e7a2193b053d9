"""L1: scanners, indicators, ratings and the feature store."""
