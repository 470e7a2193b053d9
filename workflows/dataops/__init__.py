"""DataOps stages: the only ones that write the lakehouse."""
