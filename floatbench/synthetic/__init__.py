"""Procedural talking heads with known ground truth: no downloads, no asset files, equal clips from equal seeds."""
