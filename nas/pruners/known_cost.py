"""Stops candidates that cannot win any more: step time and parameters are known, and so is what accuracy they need."""

from collections.abc import Sequence

from .interface import Consent, Subject, Trained, consented
from .learning_curve import MIN_FINISHED, Forecast, LearningCurves


class KnownCostPruner:
    """Prunes where even the accuracy that can be hoped for, times the known factor, does not beat the best reward yet.

    Where nothing is known of it, a candidate beats the best of n others with a chance of about 1 in n. One is pruned
    when by the forecast its chance is below (1 - confidence) / n: that is the confidence that none of n candidates like
    it, pruned, would have won. So a long search does not strangle itself, as with a fixed chance for each it would: the
    best of very many lies beyond what any single one can be expected to reach. All with a verdict are counted,
    pruned ones, too, since each was a candidate for the lead.

    Where a candidate's factor is not known beforehand, because its step time is measured when it has been trained,
    nothing is pruned, neither before its training nor in it.
    """

    def __init__(self, *, confidence: float, min_finished: int = MIN_FINISHED) -> None:
        """
        Args:
            confidence: That none of as many candidates as have a verdict, pruned like this one, would have won.
            min_finished: Trainings that must have finished before any is pruned by a forecast.

        Raises:
            ValueError: If confidence is not strictly between 0 and 1, or `min_finished` is below 4.
        """
        if not 0.0 < confidence < 1.0:
            raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
        self._confidence = confidence
        self._curves = LearningCurves(min_finished)
        self._judged: set[str] = set()
        """Architectures; one that comes again is no further candidate."""
        self._best: tuple[float, int] | None = None
        """Highest reward of a complete training, and the number of its trial."""

    def before(self, subject: Subject) -> str | None:
        """Why a candidate cannot win by its known costs."""
        if subject.reward_factor is None:
            return None
        return self._verdict(subject, self._curves.forecast_untrained(subject.reward_factor), reached=0.0)

    def after_epoch(self, subject: Subject, curve: Sequence[float]) -> str | None:
        """Why a candidate cannot win any more."""
        forecast = self._curves.forecast(curve)
        return None if forecast is None else self._verdict(subject, forecast, reached=max(curve))

    def told(self, trained: Trained, reason: str | None) -> None:
        """Learn from a complete training; one that was pruned has no final accuracy, and is counted alone."""
        self._judged.add(trained.subject.architecture)
        if not trained.is_complete or not trained.curve:
            return
        subject = trained.subject
        self._curves.add(trained.curve, subject.reward_factor)
        if subject.reward_factor is not None:
            reward = trained.curve[-1] * subject.reward_factor
            if self._best is None or reward > self._best[0]:
                self._best = reward, subject.number

    def promoted(self, consent: Consent = consented) -> int | None:
        """What cannot win does not come back."""
        return None

    def _verdict(self, subject: Subject, forecast: Forecast | None, *, reached: float) -> str | None:
        if self._best is None or subject.reward_factor is None:
            return None
        best_reward, best_number = self._best
        needed = best_reward / subject.reward_factor
        tail = (1.0 - self._confidence) / max(1, len(self._judged))
        highest = 1.0 if forecast is None else max(reached, forecast.at_most(tail))
        if highest > needed:
            return None
        return f"could reach {100 * highest:.2f} % at most, needs over {100 * needed:.2f} % to beat trial {best_number}"
