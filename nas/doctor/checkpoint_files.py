"""Checkpoints of trainings, short or full, as files that may be damaged."""

from pathlib import Path

from search_spaces.messages import first_line


def checkpoint_damage(file: Path) -> str | None:
    """Why a checkpoint cannot be read; None where it can."""
    # PyTorch is imported where there is a checkpoint.
    from proxies.training.checkpoint import read_checkpoint

    try:
        read_checkpoint(file)
    except ValueError as damage:
        return f"cannot be read: {first_line(damage.__cause__ or damage)}"
    return None
