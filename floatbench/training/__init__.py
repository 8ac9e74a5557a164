"""Losses, data sets, the two training phases and their checkpoints."""
