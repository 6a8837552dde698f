"""What an audit shows while it runs: trainings done, time left, and what is trained just now."""

import time

from rich.console import Console
from rich.progress import TaskID

from proxies.step_time_table import StepTimeTable

from ..audit.advice import noise_text, verdict
from ..audit.analysis import analyse
from ..audit.config import AuditConfig
from ..audit.results import AuditResults, Cell
from ..audit.run import AuditObserver
from ..audit.views import FRAGMENT_FILE, REPORT_FILE, write_views
from ..quantities import duration
from .audit_tables import proxies_table
from .live_display import LiveDisplay

_WHOLE_RUN_S = 10 * 86_400.0


class AuditDisplay(LiveDisplay, AuditObserver):
    """A live display on a terminal; one line for each training elsewhere."""

    def __init__(self, config: AuditConfig, console: Console | None = None) -> None:
        self._config = config
        super().__init__(console)
        # A training tells of itself after each epoch, which may take minutes: Rich would forget what it saw last.
        self._progress.speed_estimate_period = _WHOLE_RUN_S
        self._whole = self._progress.add_task("starting", total=None, note="")
        self._cells: dict[Cell, TaskID] = {}
        self._said = ""
        self._is_training = False
        self._done = 0.0
        self._start = time.monotonic()

    def preparing(self, doing: str) -> None:
        if not self._console.is_terminal and doing != self._said:
            self._print(doing)
        self._said = doing
        self._progress.start()
        self._progress.update(self._whole, description=doing)

    def calibrating(self, doing: str) -> None:
        self._progress.update(self._whole, description="calibrating step time", note=doing)

    def calibrated(self, table: StepTimeTable) -> None:
        self._print(f"step time calibrated in {duration(table.seconds)}: {len(table.blocks)} blocks")

    def training(self, cell: Cell, doing: str, *, done: float, total: int, share: float) -> None:
        if not self._is_training:
            self._is_training, self._done = True, done
            self._print(f"{total} trainings, {int(done)} of them done, the target first · {self._config.out}")
        note = f"{int(done)}/{total} trainings"
        self._progress.update(self._whole, description="auditing", total=1.0, completed=share, note=note)
        if doing:
            self._goes_on(cell, doing)
        elif cell in self._cells or done > self._done:
            self._ended(cell, f"{int(done)}/{total} · {share:.1%} of the work")
        self._done = done

    def _goes_on(self, cell: Cell, doing: str) -> None:
        if cell not in self._cells:
            self._cells[cell] = self._progress.add_task(_name(cell), total=None, note="")
        self._progress.update(self._cells[cell], note=doing)

    def _ended(self, cell: Cell, so_far: str) -> None:
        if cell in self._cells:
            self._progress.remove_task(self._cells.pop(cell))
        if not self._console.is_terminal:
            self._print(f"{so_far} · {_name(cell)}, training {cell.replicate + 1}")

    def draining(self, running: int) -> None:
        self._print(
            f"stopping: {running} running training{'s' * (running != 1)} keep{'s' * (running == 1)} what is done"
        )

    def completed(self, results: AuditResults) -> None:
        """Everything is trained: write what it comes to, and show it."""
        self.close()
        analysis = analyse(results)
        write_views(analysis, self._config.out)
        self._console.print(proxies_table(analysis))
        self._print(noise_text(analysis))
        self._print(verdict(analysis))
        failed = f", {len(results.failed)} failed" if results.failed else ""
        elapsed = duration(time.monotonic() - self._start)
        self._print(f"complete after {elapsed}: {len(results.trainings)} trainings{failed}")
        self._print(f"report: {self._config.out / REPORT_FILE}")
        if analysis.recommendation is not None:
            self._print(f"to search with it: nas search RECIPE --include {self._config.out / FRAGMENT_FILE}")


def _name(cell: Cell) -> str:
    return f"{cell.training} of architecture {cell.number}"
