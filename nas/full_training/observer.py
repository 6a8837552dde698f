"""What a full training tells whoever watches it."""

from proxies.training.progressive import PlannedEpoch, ProgressiveStage

from .record import EpochRecord, Event, TrainingRecord


class TrainingObserver:
    """Watches a training and does nothing; a display overrides what it wants to show."""

    def preparing(self, doing: str) -> None:
        """The training is being prepared."""

    def planned(self, record: TrainingRecord, *, notes: tuple[str, ...], steps_done: int, num_steps: int) -> None:
        """All is known that will be done; ``steps_done`` of ``num_steps`` were done before."""

    def stepped(self, planned: PlannedEpoch, *, steps_done: int) -> None:
        """A step has been done; called for every one of them, so it must be quick."""

    def judging(self, planned: PlannedEpoch) -> None:
        """An epoch's steps are done, and its network is being judged."""

    def epoch(self, record: EpochRecord, stage: ProgressiveStage, *, is_best: bool) -> None:
        """An epoch has ended."""

    def happened(self, event: Event) -> None:
        """Something that a reader of the curves should know of."""

    def complained(self, text: str) -> None:
        """Something beside the training went wrong, in a line; the training goes on."""

    def finished(self, record: TrainingRecord) -> None:
        """Every epoch is done, now or in an earlier start."""
