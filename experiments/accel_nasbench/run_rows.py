"""A bed from our own short trainings: the architectures that a finished search has judged, in whatever space."""

import csv
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.run import read_run
from proxies.costs import CostModel, Encoded
from proxies.workload import Workload
from search_spaces.architecture import parse
from search_spaces.named_spaces import get_space
from search_spaces.space import SearchSpace

from .bed import Bed
from .row_beds import make_row_bed
from .stage_times import fit_stage_times

OWN_BED = "fashion-mnist"
OWN_FILE = "fashion_mnist.csv"
"""Random architectures of the EfficientNetV2 space at a quarter of its width and half of its depth, each trained for
two epochs on a tenth of Fashion-MNIST at 32 pixels; S predicted by a calibrated table of one CPU core."""

_COLUMNS = ("architecture", "accuracy", "step_time_s")


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


def write_rows(rows: RunRows, path: Path) -> None:
    """Write rows as CSV; space, classes and channels have to be known when they are read."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for name, accuracy, seconds in zip(rows.architectures, rows.accuracy, rows.step_time_s, strict=True):
            writer.writerow((name, f"{accuracy:.6g}", f"{seconds:.6g}"))


def read_rows_file(path: Path, *, space: SearchSpace, num_classes: int, in_channels: int) -> RunRows:
    """Rows as `write_rows` has written them.

    Raises:
        ValueError: If a column is missing.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if missing := [name for name in _COLUMNS if not rows or name not in rows[0]]:
        raise ValueError(f"{path} must have the columns {', '.join(_COLUMNS)}, {missing[0]} is missing")
    return RunRows(
        space=space,
        num_classes=num_classes,
        in_channels=in_channels,
        architectures=tuple(row["architecture"] for row in rows),
        accuracy=np.array([float(row["accuracy"]) for row in rows]),
        step_time_s=np.array([float(row["step_time_s"]) for row in rows]),
    )


def own_bed() -> Bed:
    """The bed of our own short trainings that comes with the package: another space, other data."""
    with resources.as_file(resources.files(__package__).joinpath(OWN_FILE)) as path:
        space = get_space("efficientnetv2", scale=(0.25, 0.5), resolution=32)
        rows = read_rows_file(path, space=space, num_classes=10, in_channels=1)
    title = f"{len(rows.architectures)} short trainings on Fashion-MNIST in the EfficientNetV2 space"
    return bed_of_rows(OWN_BED, title, rows)


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
