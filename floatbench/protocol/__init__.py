"""What is measured: protocols, their clips and their tables."""
