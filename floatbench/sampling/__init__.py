"""Probability paths, solvers, guidance, windows and control; one idea a file."""
