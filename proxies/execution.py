"""How a training step is executed: number format, memory layout, compilation; and the fastest way that is correct."""
