"""What makes videos: FLOAT, baselines, finished videos, controls."""
