"""What is wrong with a run directory, and what can be repaired."""
