"""What a search tells whoever watches it."""

from collections.abc import Sequence

from .evaluation_tasks import Preparation
from .leaderboard import Entry
from .trials import TrialRecord


class Observer:
    """Watches a search and does nothing; a display overrides what it wants to show."""

    def preparing(self, doing: str) -> None:
        """The run is being prepared."""

    def prepared(self, preparation: Preparation, *, judged: int, trials: int, workers: int) -> None:
        """All is known that the first candidate needs; ``judged`` of ``trials`` are there from an earlier start."""

    def started(self, number: int, architecture: str) -> None:
        """An attempt was handed to a worker."""

    def progressed(self, number: int, fraction: float, doing: str) -> None:
        """An attempt goes on."""

    def finished(self, record: TrialRecord, reward: float | None, *, judged: int) -> None:
        """An attempt ended; ``judged`` candidates have a verdict now. The reward is None without a verdict."""

    def retraining(self, done: float, total: int) -> None:
        """The leaders are being trained again; ``done`` of ``total`` trainings, in fractions."""

    def draining(self, running: int) -> None:
        """The search was asked to stop and waits a moment for what is running."""

    def ended(self, entries: Sequence[Entry], ending: str) -> None:
        """The search is over."""
