"""The allocation kernels: pure functions on NumPy arrays, free of stages, settings of runs and files."""
