"""A bed from our own short trainings: the architectures that a finished search has judged, in whatever space."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.run import read_run
from proxies.costs import CostModel, Encoded
from proxies.workload import Workload
from search_spaces.architecture import parse
from search_spaces.space import SearchSpace

from .bed import Bed
from .row_beds import make_row_bed
from .stage_times import fit_stage_times


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRows:
    """What a search found out, (N,) each."""

    space: SearchSpace
    num_classes: int
    in_channels: int
    architectures: tuple[str, ...]
    accuracy: NDArray[np.float64]
    """Fractions; of several trainings their mean."""
    step_time_s: NDArray[np.float64]
    """As the search saw it: predicted, or measured."""


def rows_of_run(folder: Path) -> RunRows:
    """The judged architectures of a run directory, finished or not.

    Raises:
        ValueError: If there is no run there, or it has judged fewer than three architectures.
    """
    run = read_run(folder)
    entries = sorted(run.leaderboard(), key=lambda entry: entry.number)
    if len(entries) < 3:
        raise ValueError(f"a bed needs at least three judged architectures, got {len(entries)} in {folder}")
    return RunRows(
        space=run.config.search_space(),
        num_classes=run.preparation.data.num_classes,
        in_channels=run.preparation.data.in_channels,
        architectures=tuple(entry.architecture for entry in entries),
        accuracy=np.array([entry.accuracy for entry in entries]),
        step_time_s=np.array([entry.predicted_step_time_s or entry.step_time_s for entry in entries]),
    )


def bed_of_rows(name: str, title: str, rows: RunRows) -> Bed:
    """A bed on which these rows alone can be trained.

    What has no row is priced by seconds for each combination of a stage's choices, fitted to the rows.
    """
    encoded: Encoded = np.array([rows.space.encode(parse(text)) for text in rows.architectures])
    encoded, first = np.unique(encoded, axis=0, return_index=True)
    costs = CostModel(
        workload=Workload(num_classes=rows.num_classes, in_channels=rows.in_channels),
        device_kind="cpu",
        step_times=fit_stage_times(rows.space, encoded, rows.step_time_s[first]),
    )
    return make_row_bed(
        name,
        title,
        rows.space,
        rows=encoded,
        accuracy=rows.accuracy[first],
        step_time_s=rows.step_time_s[first],
        costs=costs.over(rows.space),
    )
