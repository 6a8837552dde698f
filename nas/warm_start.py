"""Starting from what earlier runs on the same space found out, whatever images and device they had."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna

from search_spaces.architecture import parse
from search_spaces.space import SearchSpace

from .config import SearchConfig
from .run import read_run
from .run_directory import RunDirectoryError
from .samplers.problem import EarlierRun
from .trials import EarlierResults, read_earlier, write_earlier


def read_earlier_results(config: SearchConfig) -> list[EarlierResults]:
    """What the runs that the configuration names have found out.

    Raises:
        RunDirectoryError: If one cannot be read, or has judged no member of the space, in one line.
    """
    space = config.search_space()
    return [_results_of(path, space) for path in config.warm_start]


def keep_earlier_results(study: optuna.Study, config: SearchConfig) -> None:
    """Copy them into a study that has no trial yet, which then needs the earlier runs no more.

    Raises:
        RunDirectoryError: As `read_earlier_results`.
    """
    if study.get_trials(deepcopy=False):
        return
    results = read_earlier_results(config)
    if results != read_earlier(study):
        write_earlier(study, results)


def earlier_runs(results: Sequence[EarlierResults]) -> list[EarlierRun]:
    """As samplers take them."""
    return [
        EarlierRun(members=np.array(each.members, dtype=np.int64), accuracies=np.array(each.accuracies))
        for each in results
    ]


def _results_of(path: Path, space: SearchSpace) -> EarlierResults:
    """Accuracies are means over an architecture's trainings."""
    members, accuracies, problem = [], [], ""
    entries = read_run(path).leaderboard()
    for entry in entries:
        try:
            members.append(space.encode(parse(entry.architecture)))
        except ValueError as error:
            problem = problem or f" ({error})"
        else:
            accuracies.append(entry.accuracy)
    if not members:
        raise RunDirectoryError(
            f"cannot start from {path}: none of its {len(entries)} results is of a member of the space{problem}"
        )
    return EarlierResults(
        source=str(path),
        members=tuple(members),
        accuracies=tuple(accuracies),
        num_left_out=len(entries) - len(members),
    )
