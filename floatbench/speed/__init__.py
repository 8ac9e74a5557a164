"""Time, memory and energy of methods."""
