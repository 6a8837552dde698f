"""What a search shows while it runs: trials done, best reward, time left, and every candidate at work."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import TaskID

from proxies.step_time_table import StepTimeTable
from search_spaces.architecture import parse

from ..config import SearchConfig
from ..evaluation_tasks import Preparation
from ..leaderboard import Entry
from ..observer import Observer
from ..quantities import duration, milliseconds
from ..savings import savings
from ..survey import Machine
from ..trials import EarlierResults, State, TrialRecord
from .live_display import LiveDisplay
from .tables import leaderboard_table

# A candidate costs more than its training steps: it is built, its data are augmented, and it is judged.
_OVERHEAD = 1.35


class SearchDisplay(LiveDisplay, Observer):
    """A live display on a terminal; one line for each verdict elsewhere."""

    def __init__(self, config: SearchConfig, console: Console | None = None) -> None:
        self._config = config
        super().__init__(console)
        self._whole = self._progress.add_task("starting", total=None, note="")
        self._calibration: TaskID | None = None
        self._candidates: dict[int, TaskID] = {}
        self._fractions: dict[int, float] = {}
        self._judged = 0
        self._best: float | None = None
        self._told: dict[str, TrialRecord] = {}
        """Verdicts of this start, by architecture; a promoted candidate has its last."""
        self._said = ""
        self._start = time.monotonic()

    def preparing(self, doing: str) -> None:
        if not self._console.is_terminal and doing != self._said:
            self._print(doing)  # whoever reads a log wants to know what a search waits for
        self._said = doing
        self._progress.start()
        self._progress.update(self._whole, description=doing)

    def surveyed(self, machines: Sequence[Machine]) -> None:
        for machine in machines:
            canary = f", canary {milliseconds(machine.canary_s)}" if machine.canary_s else ""
            self._print(f"machine {machine.place}: {machine.device}{canary}")

    def starting_from(self, results: Sequence[EarlierResults]) -> None:
        for each in results:
            left_out = f" ({each.num_left_out} of no member of this space left out)" if each.num_left_out else ""
            self._print(f"starts from {len(each.members)} results of {each.source}{left_out}")

    def prepared(self, preparation: Preparation, *, judged: int, trials: int, workers: int) -> None:
        data = preparation.data
        self._print(
            f"{data.source}: {data.num_train:,} images to learn from, {data.num_minival:,} to judge by, "
            f"{data.num_classes} classes · {preparation.device}"
        )
        self._print(f"training in {preparation.mode}, timing in {preparation.step_mode}")
        if judged:
            self._print(f"resuming {self._config.out}: {judged} of {trials} candidates are judged")
        left = max(0, trials - judged)
        again = (self._config.finalists + 1) * self._config.finalist_seeds if self._config.finalists else 0
        each = self._seconds_of_a_candidate(preparation)
        if left:
            self._print(
                f"{left} candidates and {again} trainings of the leaders × at most about {duration(each)}, "
                f"{workers} at once; with {duration(self._seconds_alone(preparation, judged))} of timing: "
                f"about {duration((left + again) * each / workers + self._seconds_alone(preparation, judged))}"
            )
        self._judged = judged
        self._progress.update(self._whole, description="trials", total=trials, completed=judged)
        self._refresh()

    def calibrating(self, doing: str) -> None:
        if self._calibration is None:
            self._calibration = self._progress.add_task("calibrating step time", total=None, note="")
        self._progress.update(self._calibration, note=doing)

    def calibrated(self, table: StepTimeTable) -> None:
        if self._calibration is not None:
            self._progress.remove_task(self._calibration)
        self._calibration = None
        self._print(
            f"step time calibrated in {duration(table.seconds)}: {len(table.blocks)} blocks, "
            f"{len(table.networks)} whole networks"
        )

    def started(self, number: int, architecture: str) -> None:
        self._fractions[number] = 0.0
        self._candidates[number] = self._progress.add_task(f"#{number}", total=1.0, note=_gist(architecture))

    def progressed(self, number: int, fraction: float, doing: str) -> None:
        self._fractions[number] = fraction
        self._progress.update(self._candidates[number], completed=fraction, description=f"#{number} {doing}")
        self._refresh()

    def finished(self, record: TrialRecord, reward: float | None, *, judged: int) -> None:
        self._judged = judged
        self._fractions.pop(record.number, None)
        self._progress.remove_task(self._candidates.pop(record.number))
        if reward is not None:
            self._best = max(reward, self._best or 0.0)
        if record.is_judged and record.candidate is not None:
            self._told[record.candidate.architecture] = record
        if record.state is not State.COMPLETE or not self._console.is_terminal:
            self._print(self._line(record, reward))
        self._refresh()

    def finalists(self, done: float, total: int) -> None:
        if total:
            description = "timing the leaders, training them again"
            self._progress.update(self._whole, description=description, completed=done, total=total, note="")

    def draining(self, running: int) -> None:
        self._print(f"stopping: {running} running task{'s' * (running != 1)} keep{'s' * (running == 1)} what is done")

    def ended(self, entries: Sequence[Entry], ending: str) -> None:
        self.close()
        self._console.print(leaderboard_table(entries))
        elapsed = duration(time.monotonic() - self._start)
        self._print(f"{_ENDINGS[ending]} after {elapsed}: {self._judged} candidates judged")
        saved = savings(list(self._told.values()), self._config.fidelity.epochs)
        if saved is not None:
            self._print(saved.text)
        if ending != "interrupted":
            self._print(f"report: {self._config.out / 'report.html'}")

    def _line(self, record: TrialRecord, reward: float | None) -> str:
        name = record.candidate.architecture if record.candidate else ""
        verdict = f"reward {reward:.4f}" if reward is not None else f"{record.state}: {record.reason}"
        return f"{self._judged}/{self._config.trials} · #{record.number} {verdict} · {name}"

    def _refresh(self) -> None:
        best = "" if self._best is None else f"best {self._best:.4f}"
        completed = self._judged + sum(self._fractions.values())
        note = f"{self._judged}/{self._config.trials} {best}"
        self._progress.update(self._whole, completed=completed, note=note)

    def _seconds_of_a_candidate(self, preparation: Preparation) -> float:
        setting = self._config.step_time
        timed_steps = 2 * (setting.num_pairs + 4) if setting.method == "measured" else 0
        return preparation.training_seconds * _OVERHEAD + timed_steps * preparation.step_time_ref_s

    def _seconds_alone(self, preparation: Preparation, judged: int) -> float:
        """Of what holds the device alone: the calibration, and the least number of visits to the leaders."""
        setting = self._config.step_time
        is_calibrated = judged or setting.tables or setting.method != "predicted"
        leaders = self._config.finalists + 1 if self._config.finalists and preparation.is_target_here else 0
        steps = leaders * setting.visits * setting.num_pairs
        timing = steps * (preparation.step_time_ref_s + preparation.canary_s)
        return timing + (0.0 if is_calibrated else setting.calibration_s)


_ENDINGS = {
    "complete": "complete",
    "exhausted": "the space is exhausted",
    "timeout": "time is up",
    "interrupted": "interrupted",
}


def _gist(architecture: str) -> str:
    """The blocks alone, short enough for a line: F4k3×2 M6k5×3 …"""
    stages = parse(architecture).stages
    return " ".join(
        f"{'F' if stage.block == 'er' else 'M'}{stage.expand_ratio}k{stage.kernel_size}×{stage.num_repeats}"
        for stage in stages
    )
