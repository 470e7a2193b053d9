"""L2: predictability, scores, filters, clusters and the relaxation ladder."""
