"""The pruner that a configuration names."""

from collections.abc import Sequence

from ..config import SearchConfig
from .interface import Pruner, Subject, Trained


def make_pruner(config: SearchConfig) -> Pruner:
    """The configuration's pruner; where it names none, one that lets every training go on."""
    return NeverPrunes()


class NeverPrunes:
    """Lets every training begin and go on."""

    def before(self, subject: Subject) -> str | None:
        return None

    def after_epoch(self, subject: Subject, curve: Sequence[float]) -> str | None:
        return None

    def told(self, trained: Trained, reason: str | None) -> None:
        """Nothing is learned from it."""

    def promoted(self) -> int | None:
        return None

    def expected_accuracy(self, curve: Sequence[float]) -> float | None:
        return None
