"""The procedural talking-head data set, with its ground truth."""
