"""L4: regime, risk model, kernels, certificates, weights and flattening."""
