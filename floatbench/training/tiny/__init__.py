"""What float-tiny takes from the ground truth of synthetic clips in phase 1; the paper has none of it."""
