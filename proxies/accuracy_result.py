"""What a short training of one candidate showed, epoch by epoch."""

from dataclasses import dataclass

from .evaluation import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochProgress:
    """What is known after an epoch."""

    epoch: int
    """1…num_epochs."""
    num_epochs: int
    train_loss: float
    """Mean over the epoch's steps."""
    score: Score
    """On the judging images."""
    train_seconds: float
    """Spent in training steps since the start, evaluation left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyResult:
    """What a short training of one candidate showed."""

    score: Score
    """On the judging images, after the last epoch."""
    curve: tuple[EpochProgress, ...]
    """One entry per epoch."""
    num_trained: int
    """Images the network was trained on, repeats counted."""

    @property
    def num_correct(self) -> int:
        return self.score.num_correct

    @property
    def num_images(self) -> int:
        return self.score.num_images

    @property
    def accuracy(self) -> float:
        """A, a fraction in [0, 1]."""
        return self.score.accuracy

    @property
    def standard_error(self) -> float:
        """Of the accuracy, from the number of judging images; other seeds and other images vary it more."""
        return self.score.standard_error

    @property
    def train_seconds(self) -> float:
        """Spent in training steps; building and evaluation are left out."""
        return self.curve[-1].train_seconds

    @property
    def images_per_s(self) -> float:
        """Training throughput."""
        return self.num_trained / self.train_seconds

    @property
    def final_train_loss(self) -> float:
        return self.curve[-1].train_loss
