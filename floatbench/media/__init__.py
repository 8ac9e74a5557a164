"""Decode, encode, resample and crop: the only place that touches video and sound files."""
