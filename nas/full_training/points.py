"""Points of the curves within an epoch: what the steps since the last point came to."""

from dataclasses import dataclass

from proxies.training.loop import Training
from proxies.training.progressive import PlannedEpoch

from .trackers import Trackers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """Where an epoch stands."""

    epoch: int = -1
    num_steps: int = 0
    loss: float = 0.0
    """Sum over the steps."""
    seconds: float = 0.0


class Points:
    """Tells trackers of points while an epoch is under way."""

    def __init__(self, trackers: Trackers) -> None:
        self._trackers = trackers
        self._last = _Standing()

    def tell(self, training: Training, planned: PlannedEpoch) -> None:
        """Of the steps since the last point, or since the epoch began; if it is time for one."""
        if not self._trackers.is_due():
            return
        before = self._last if self._last.epoch == planned.number else _Standing(epoch=planned.number)
        now = _Standing(
            epoch=planned.number,
            num_steps=training.steps_done - planned.first_step,
            loss=training.own_loss(),
            seconds=training.epoch_seconds,
        )
        self._last = now
        num_steps, seconds = now.num_steps - before.num_steps, now.seconds - before.seconds
        if num_steps > 0 and seconds > 0:
            self._trackers.step(
                training.steps_done,
                loss=(now.loss - before.loss) / num_steps,
                learning_rate=training.step.learning_rate,
                images_per_s=num_steps * planned.stage.batch_size / seconds,
            )
