"""Checks of the study: its file, its trials, and what is owed."""

import csv
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial

from optuna.trial import FrozenTrial, TrialState

from ..appraisal import values_of
from ..config import SearchConfig
from ..recovery import owed, recover
from ..run import Run
from ..run_directory import RunDirectory
from ..storage import directions_of, is_write_ahead, open_study
from ..trials import State, TrialRecord
from .case import Case, study_files
from .findings import Finding, Repair, error, note, warning
from .salvage import salvage, write_study

_STUDY = "study.db"
_HOT = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
"""How the journal of a transaction begins that has not ended."""


def study_is_whole(case: Case) -> Iterator[Finding]:
    """A study that is missing, empty, truncated, garbage, or of another program."""
    directory = case.directory
    if not directory.study_file.exists():
        if directory.trials_file.exists():
            yield error(
                _STUDY, "is missing, and with it every verdict", "put a copy back; trials.csv cannot replace it"
            )
        return
    if case.damage is None:
        return
    told = len(_told_in_view(case))
    what = f"{case.damage.what}; trials.csv knows of {told} verdicts in it" if told else case.damage.what
    if not case.damage.has_rows:
        yield error(_STUDY, what, "put a copy back" if told else "put a copy back, or remove it to begin anew")
        return
    repair = Repair(mend=partial(_rebuild, case), files=tuple(study_files(directory)))
    yield error(_STUDY, what, "put a copy back; without one --repair saves what can be read", repair)


def journal_is_done(case: Case) -> Iterator[Finding]:
    """What SQLite keeps beside a study whose writer was killed."""
    directory = case.directory
    journal = directory.study_file.with_name(f"{_STUDY}-journal")
    if case.is_driven or not directory.study_file.exists():
        return
    if journal.exists() and journal.read_bytes()[:8] == _HOT and case.damage is None:
        yield warning(
            journal.name,
            "its writer was killed within a transaction, which this file takes back",
            f"keep it beside {_STUDY}, also in a copy; whoever opens the study next rolls it back",
            Repair(mend=partial(_open_once, directory), files=tuple(study_files(directory))),
        )
    if is_write_ahead(directory.study_file) and case.damage is None:
        yield warning(
            _STUDY,
            "has a write-ahead log, which fails where hosts share a file system",
            "the next start of the search leaves it",
            Repair(mend=partial(_leave_log, directory), files=tuple(study_files(directory))),
        )


def trials_are_whole(case: Case) -> Iterator[Finding]:
    """Trials that cannot be read, or lack what belongs to their verdict."""
    if case.flaws:
        shown = "; ".join(f"trial {number} {flaw}" for number, flaw in sorted(case.flaws.items())[:3])
        more = f"; and {len(case.flaws) - 3} more" if len(case.flaws) > 3 else ""
        yield error(
            _STUDY,
            shown + more,
            "the search cannot go on; --repair lets them be judged again",
            Repair(mend=partial(_rebuild, case), files=tuple(study_files(case.directory))),
        )


def values_are_rewards(case: Case) -> Iterator[Finding]:
    """Values that the sampler learns from, and that do not follow from what is stored of their trials."""
    # By a configuration that was edited rewards would be others, and right ones be written over.
    if isinstance(case.run, str) or case.trials is None or case.difference is not None:
        return
    expected = {record.number: _values(case.run, record) for record in case.run.records}
    wrong = [trial.number for trial in case.trials if not _agree(trial, expected[trial.number])]
    if wrong:
        numbers = ", ".join(map(str, wrong[:5])) + (", …" if len(wrong) > 5 else "")
        yield error(
            _STUDY,
            f"the values of {len(wrong)} trials ({numbers}) are not the rewards of their outcomes",
            "the sampler learns from wrong values; --repair computes them again",
            Repair(mend=partial(_write_values, case, expected), files=tuple(study_files(case.directory))),
        )


def nothing_runs_without_a_driver(case: Case) -> Iterator[Finding]:
    """Trials that a killed driver left running."""
    if case.records is None or case.is_driven:
        return
    running = [record.number for record in case.records if record.state is State.RUNNING]
    if running and not isinstance(case.config, str):
        yield warning(
            _STUDY,
            f"{len(running)} trials run there ({', '.join(map(str, running))}), but no search does: it was killed",
            "search again with the same --out: they are judged again",
            Repair(mend=partial(_recover, case.directory, case.config), files=tuple(study_files(case.directory))),
        )


def attempts_are_made(case: Case) -> Iterator[Finding]:
    """How far the search is, and what it owes."""
    if case.records is None or isinstance(case.config, str) or case.is_driven:
        return
    judged = sum(record.is_judged for record in case.records)
    due = len(owed(case.records)) + sum(record.state is State.WAITING for record in case.records)
    if due:
        yield note(
            _STUDY,
            f"{judged} of {case.config.trials} candidates judged; {due} attempts are owed",
            f"nas search --out {case.directory.path}",
        )


def _told_in_view(case: Case) -> frozenset[int]:
    """Trials with a verdict as `trials.csv` had them: not what they were, but that they were."""
    try:
        with case.directory.trials_file.open(encoding="utf-8", newline="") as file:
            verdicts = (State.COMPLETE, State.PRUNED, State.INFEASIBLE)
            return frozenset(int(row["number"]) for row in csv.DictReader(file) if row["state"] in verdicts)
    except (OSError, ValueError, KeyError, csv.Error):
        return frozenset()


def _rebuild(case: Case) -> str:
    directions = () if isinstance(case.config, str) else directions_of(case.config.objectives)
    salvaged = salvage(case.study_copy, directions=directions, told=_told_in_view(case))
    write_study(salvaged, case.directory.study_file)
    return f"a new study: {salvaged.summary}"


def _write_values(case: Case, expected: dict[int, list[float] | None]) -> str:
    def correct(trial: FrozenTrial) -> FrozenTrial:
        values = expected.get(trial.number)
        if trial.state is TrialState.COMPLETE and values is not None:
            trial.values = values
        return trial

    salvaged = salvage(case.study_copy)
    write_study(salvaged, case.directory.study_file, correct)
    return "values computed again"


def _recover(directory: RunDirectory, config: SearchConfig) -> str:
    study = open_study(directory, config)
    recover(study, config.search_space())
    return "they have failed, and their attempts wait"


def _open_once(directory: RunDirectory) -> str:
    with closing(sqlite3.connect(directory.study_file)) as connection:
        connection.execute("SELECT count(*) FROM trials").fetchone()
    return "taken back"


def _leave_log(directory: RunDirectory) -> str:
    with closing(sqlite3.connect(directory.study_file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    return "the study has a journal again"


def _values(run: Run, record: TrialRecord) -> list[float] | None:
    """What the sampler is to learn from a trial; None where there is nothing."""
    outcome = record.outcome
    if outcome is None or record.state is not State.COMPLETE:
        return None
    return values_of(outcome, run.config.objectives, run.reward())


def _agree(trial: FrozenTrial, expected: list[float] | None) -> bool:
    if trial.state is not TrialState.COMPLETE or expected is None:
        return True
    pairs = zip(trial.values, expected, strict=True)
    return all(math.isclose(value, other, rel_tol=1e-9) for value, other in pairs)
