"""The losses of FLOAT's two training phases, one idea a file."""
