"""L0: identity, the raw pool and the foundation matrix."""
