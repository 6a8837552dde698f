"""How much training the known-cost pruner saves, at what loss: whole searches on Fashion-MNIST, with and without it."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group

from nas.config import SearchConfig, read_config
from nas.observer import Observer
from nas.opening import InterruptedSearchError
from nas.recipes import find_recipe
from nas.run import Run, read_run
from nas.run_directory import RunDirectory
from nas.search import run_search
from nas.study import Ending

from .pruning_cells import WITH, WITHOUT, Cell, Completed, read_rows, write_rows
from .pruning_completion import train_to_the_end
from .pruning_figures import cell_of, completed_of, pruned_of
from .pruning_replay import replay_table, trainings_of
from .pruning_report import cells_table, verdicts

RECIPE = "fashion"
CALIBRATION = "calibration"
"""The search of one candidate whose step-time table prices all others, so that none has luck with its clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningPlan:
    """A whole benchmark."""

    out: Path
    seeds: int
    trials: int
    confidence: float
    recipe: Path

    def config(self, name: str, seed: int, *, pruners: Sequence[str] = (), table: Path | None) -> SearchConfig:
        """Of one search."""
        overrides = {
            "seed": seed,
            "trials": self.trials,
            "pruners": list(pruners),
            "pruning_confidence": self.confidence,
            "out": str(self.out / name),
            **({"step_time.tables": [str(table)]} if table else {}),
        }
        return read_config(self.recipe, overrides)

    @property
    def setting(self) -> str:
        """What all cells have in common."""
        config = self.config(CALIBRATION, 0, table=None)
        fidelity = config.fidelity
        return (
            f"{self.trials} candidates, {fidelity.epochs} epochs of {fidelity.data_share:g} of the images of "
            f"{config.data.source}, batches of {config.train.batch_size}, step size {config.train.lr:g}, "
            f"confidence {self.confidence:g}"
        )

    @property
    def searches(self) -> list[tuple[str, int]]:
        """Variants and seeds; what is compared comes one after the other."""
        return [(variant, seed) for seed in range(self.seeds) for variant in (WITHOUT, WITH)]

    def cell_file(self, variant: str, seed: int) -> Path:
        """Of a finished search."""
        return self.out / f"{variant}-{seed}.csv"

    def completed_file(self, seed: int) -> Path:
        """Of what a search has pruned, trained to the end."""
        return self.out / f"{WITH}-{seed}-pruned.csv"

    def cells(self) -> list[Cell]:
        """All that are finished."""
        files = [self.cell_file(variant, seed) for variant, seed in self.searches]
        return [cell for file in files for cell in read_rows(file, Cell, setting=self.setting)]

    def completed(self) -> list[Completed]:
        """All that are trained to the end."""
        files = [self.completed_file(seed) for seed in range(self.seeds)]
        return [each for file in files for each in read_rows(file, Completed, setting=self.setting)]


def plan_pruning(
    out: Path, *, seeds: int, trials: int | None = None, confidence: float | None = None, recipe: str = RECIPE
) -> PruningPlan:
    """Check what was asked for, and fill in what was not.

    Args:
        out: Folder of the searches; the same again carries on.
        seeds: Searches with the pruner, and as many without.
        trials: Candidates of each; by default the recipe's.
        confidence: Of the pruner; likewise.
        recipe: Of the search.

    Raises:
        ValueError: If the recipe is none, or the folder holds searches of another setting.
    """
    base = read_config(find_recipe(recipe))
    plan = PruningPlan(
        out=out.absolute(),
        seeds=seeds,
        trials=trials or base.trials,
        confidence=confidence or base.pruning_confidence,
        recipe=find_recipe(recipe),
    )
    plan.cells()
    plan.completed()
    return plan


def run_pruning(plan: PruningPlan) -> Group:
    """Search what is not searched yet, train to the end what was pruned, and lay out the tables.

    Several processes may work at one plan: each takes the searches that no other has taken.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    console, table = Console(stderr=True), _calibrated(plan)
    for variant, seed in plan.searches:
        with _claimed(plan.out / f"{variant}-{seed}.lock") as is_ours, console.status(f"{variant}, seed {seed}"):
            if is_ours:
                _finish(plan, variant, seed, table)
    cells, completed = plan.cells(), plan.completed()
    plain = [trainings_of(read_run(plan.out / f"{c.variant}-{c.seed}")) for c in cells if c.variant == WITHOUT]
    lines = [f"· {line}" for line in verdicts(cells, completed)]
    return Group(cells_table(cells, completed), *lines, "", replay_table(plain))


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Whether nobody else is at it; meanwhile nobody else can be."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _finish(plan: PruningPlan, variant: str, seed: int, table: Path) -> None:
    """Do what is left to do of one search."""
    config = plan.config(f"{variant}-{seed}", seed, pruners=[WITH] if variant == WITH else [], table=table)
    file = plan.cell_file(variant, seed)
    if not file.exists():
        write_rows(file, Cell, [cell_of(plan.setting, variant, _searched(config))])
    run = read_run(config.out)
    completed = read_rows(plan.completed_file(seed), Completed, setting=plan.setting)
    known, pruned = {each.number for each in completed}, pruned_of(run)
    missing = [record for record in run.records if record.number in pruned and record.number not in known]
    for record, accuracy in train_to_the_end(config, run, missing):
        completed.append(completed_of(plan.setting, run, record, accuracy))
        write_rows(plan.completed_file(seed), Completed, completed)


def _calibrated(plan: PruningPlan) -> Path:
    """The file of a step-time table of this machine.

    Raises:
        RunDirectoryError: If another process is about to calibrate it.
    """
    config = plan.config(CALIBRATION, 0, table=None).model_copy(update={"trials": 1, "finalists": 0})
    table = RunDirectory(config.out).table_file(0)
    if not table.exists():
        _searched(config)
    return table


def _searched(config: SearchConfig) -> Run:
    """A search that is begun, or goes on, and comes to its end.

    Raises:
        KeyboardInterrupt: If somebody asked it to stop.
    """
    try:
        run, ending = run_search(config, observer=Observer())
    except InterruptedSearchError:
        raise KeyboardInterrupt from None
    if ending is Ending.INTERRUPTED:
        raise KeyboardInterrupt
    return run
