"""Jobs, executors, features, scoring and records: from a plan to a scored run."""
