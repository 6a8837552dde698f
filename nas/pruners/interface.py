"""What the loop asks of a pruner: which trainings need not begin, need not go on, or deserve to go on after all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

Consent = Callable[[int], bool]
"""Whether nobody else is against it that a pruned trial, by its number, goes on now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A candidate as a pruner sees it."""

    number: int
    """Of its trial."""
    architecture: str
    reward_factor: float | None
    """R / A, known before any training; None where S is not known beforehand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a candidate's training has come to."""

    subject: Subject
    curve: tuple[float, ...]
    """Accuracy, a fraction, after each epoch so far; empty where it was never trained."""
    is_complete: bool


def consented(number: int) -> bool:
    """Where there is nobody else."""
    return True


class Pruner(Protocol):
    """Decides from what it is told; asked twice in between it answers the same.

    An architecture may come under several numbers: a further attempt after a death shows its epochs again, and so does
    a promoted one, whose later verdict then stands in place of the earlier one. The backbone is never asked about:
    it is the yardstick. Its verdict is told like any other.
    """

    def before(self, subject: Subject) -> str | None:
        """Why a candidate need not be trained at all; None: it is trained."""
        ...

    def after_epoch(self, subject: Subject, curve: Sequence[float]) -> str | None:
        """Why a training need not go on after the epochs it has come to; None: it goes on."""
        ...

    def told(self, trained: Trained, reason: str | None) -> None:
        """Take a verdict: a complete training, or one that was pruned for a reason.

        Replayed from the study on resume, in the order of the verdicts.
        """
        ...

    def promoted(self, consent: Consent = consented) -> int | None:
        """Number of a pruned trial, as told, that deserves to go on by now; None: none. What is answered is taken.

        What others are against stays, and may go on when they are not any more.

        After a resume it may name again what goes on already; that is passed over. A promoted training is not asked
        about again up to the epoch where it was stopped.
        """
        ...
