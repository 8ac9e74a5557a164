"""Sampling: probability paths, solvers, guidance, windows, control, and the one sampler that uses them."""
