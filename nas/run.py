"""A run directory read back: what reports, re-ranking and comparisons work on. Needs no torch and writes nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxies.step_time_table import StepTimeTable
from search_spaces.messages import first_line

from .audit.directory import holds_audit
from .config import SearchConfig, read_config
from .evaluation_tasks import AccuracyRecord, Measurement, Preparation
from .family.members import Family, read_family
from .leaderboard import Entry, leaderboard
from .pricing import reward_of
from .reward import Reward
from .run_directory import RunDirectory, RunDirectoryError
from .storage import load_study
from .survey import Machine
from .trials import (
    EarlierResults,
    TrialRecord,
    read_earlier,
    read_machines,
    read_measurements,
    read_preparation,
    read_records,
    read_replicates,
    read_tables_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A search as its directory tells it, running or finished."""

    directory: RunDirectory
    config: SearchConfig
    preparation: Preparation
    records: tuple[TrialRecord, ...]
    replicates: Mapping[int, Mapping[int, AccuracyRecord]]
    measurements: Mapping[int, Measurement]
    """Of finalists, by trial number."""
    failed_measurements: Mapping[int, str]
    """Reasons by trial number."""
    earlier: tuple[EarlierResults, ...]
    """What the search started from."""
    machines: tuple[Machine, ...]
    """Of the cluster; none where one machine does everything."""
    tables: tuple[StepTimeTable, ...]
    """That predict S; none where S is measured, or before they are calibrated."""
    environment: Mapping[str, Any]
    """`environment.json`; empty where it is missing."""
    family: Family | str | None = None
    """What `nas scale` made of its best, or why its file cannot be read; None before."""

    def reward(self, *, w: float | None = None, v: float | None = None) -> Reward:
        """The run's reward, or the same with other exponents."""
        return reward_of(self.config, self.preparation, w=w, v=v)

    def leaderboard(self, reward: Reward | None = None) -> list[Entry]:
        return leaderboard(self.records, reward or self.reward(), self.replicates, self.measurements)


def read_run(path: Path) -> Run:
    """Read a run directory.

    Raises:
        RunDirectoryError: If there is no run there, or nothing has been judged in it yet, or its study is damaged.
    """
    directory = RunDirectory(path)
    directory.require_started()
    if holds_audit(directory):
        raise RunDirectoryError(f"{path} holds an audit, no search: nas report shows it")
    config = read_config(directory.config_file)
    study = load_study(directory)
    preparation = read_preparation(study)
    if preparation is None:
        raise RunDirectoryError(f"nothing has been judged yet in {path}")
    measurements = read_measurements(study)
    return Run(
        directory=directory,
        config=config,
        preparation=preparation,
        records=tuple(read_records(study)),
        replicates=read_replicates(study),
        measurements={number: found for number, found in measurements.items() if not isinstance(found, str)},
        failed_measurements={number: found for number, found in measurements.items() if isinstance(found, str)},
        earlier=tuple(read_earlier(study)),
        machines=tuple(read_machines(study)),
        tables=tuple(read_tables_of(study)),
        environment=read_environment(directory.environment_file),
        family=_read_family(directory.family_file),
    )


def _read_family(path: Path) -> Family | str | None:
    """A search does without it, and so a damaged one must not stop a search or its report."""
    if not path.exists():
        return None
    try:
        return read_family(path)
    except ValueError as error:
        return str(error)


def read_environment(path: Path) -> Mapping[str, Any]:
    """What `environment.json` says; nothing where it is missing.

    Raises:
        RunDirectoryError: If it is damaged.
    """
    if not path.exists():
        return {}
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunDirectoryError(f"cannot read {path}: {first_line(error)}") from None
    return environment if isinstance(environment, dict) else {}
