"""What a search tells whoever watches it."""

from collections.abc import Sequence

from proxies.step_time_table import StepTimeTable

from .evaluation_tasks import Preparation
from .leaderboard import Entry
from .survey import Machine
from .trials import EarlierResults, TrialRecord


class Observer:
    """Watches a search and does nothing; a display overrides what it wants to show."""

    def preparing(self, doing: str) -> None:
        """The run is being prepared."""

    def surveyed(self, machines: Sequence[Machine]) -> None:
        """Every machine of the cluster was looked at."""

    def starting_from(self, results: Sequence[EarlierResults]) -> None:
        """What earlier runs found out is known; none if the search starts from nothing."""

    def prepared(self, preparation: Preparation, *, judged: int, trials: int, workers: int) -> None:
        """All is known that the first candidate needs; ``judged`` of ``trials`` are there from an earlier start."""

    def calibrating(self, doing: str) -> None:
        """Step times are being calibrated, beside the first candidates."""

    def calibrated(self, table: StepTimeTable) -> None:
        """Step times are predicted from here on."""

    def started(self, number: int, architecture: str) -> None:
        """An attempt was handed to a worker."""

    def progressed(self, number: int, fraction: float, doing: str) -> None:
        """An attempt goes on."""

    def finished(self, record: TrialRecord, reward: float | None, *, judged: int) -> None:
        """An attempt ended; ``judged`` candidates have a verdict now. The reward is None without a verdict."""

    def finalists(self, done: float, total: int) -> None:
        """The leaders are being timed and trained again; ``done`` of ``total`` tasks, in fractions."""

    def draining(self, running: int) -> None:
        """The search was asked to stop and waits a moment for what is running."""

    def ended(self, entries: Sequence[Entry], ending: str) -> None:
        """The search is over."""
