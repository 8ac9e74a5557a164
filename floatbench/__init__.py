"""floatbench: a benchmark for audio-driven talking portraits and a reference implementation of FLOAT."""

__version__ = "0.1.0"
