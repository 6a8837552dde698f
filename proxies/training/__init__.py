"""A training: its settings, learning rate, optimizer and loop."""
