"""Training to the end: progressive learning, resumable, in a directory of its own."""
