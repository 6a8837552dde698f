"""What it means that a candidate cannot be judged here."""


class InfeasibleError(RuntimeError):
    """The candidate cannot be judged on this device with this training; a verdict, not a bug.

    Raised for a loss that is not finite and for memory that does not suffice. A search learns from it and goes on.

    Attributes:
        reason: What went wrong, in one line fit for a table.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MemoryInfeasibleError(InfeasibleError):
    """Memory does not suffice; a batch in smaller parts might fit."""
