"""What a run directory shows: `trials.csv`, `best.yaml`, `report.html`. Views of the study that nobody reads back."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from proxies.step_time_table import dump_table
from search_spaces.architecture import parse
from search_spaces.stage_table import stage_rows
from search_spaces.strict_yaml import dump_yaml

from .evaluation_tasks import Measurement
from .leaderboard import Entry, mean_accuracy
from .reward import Reward
from .run import Run
from .run_directory import write_whole
from .trials import Partial, TrialRecord

# Columns of `trials.csv`; the space's parameters follow as params_*.
COLUMNS = (
    "number", "state", "architecture", "accuracy", "accuracy_se", "step_time_s", "step_time_rse",
    "step_time_is_measured", "measured_step_time_s", "inference_step_time_s", "params", "macs", "peak_memory_bytes",
    "micro_batches", "reward", "reason", "retry_of", "duplicate_of", "continues", "epochs", "machine",
    "seconds", "started", "finished",
)  # fmt: skip


def write_views(run: Run, *, report: bool) -> None:
    """Write `trials.csv`, `best.yaml` and, if asked, `report.html`.

    Raises:
        OSError: If one of them cannot be written.
    """
    for path, text in view_texts(run):
        write_whole(path, text)
    if report:
        # Plotly is imported for reports only.
        from .report import write_report

        write_report(run, run.directory.report_file)


def view_texts(run: Run) -> Iterator[tuple[Path, str]]:
    """Every view but the report: its file, and what stands in it."""
    yield run.directory.trials_file, _trials_text(run.records, run.reward(), run.measurements)
    for place, table in enumerate(run.tables):
        yield run.directory.table_file(place), dump_table(table)
    entries = run.leaderboard()
    if entries:
        yield run.directory.best_file, dump_yaml(_best(entries[0], run))


def trials_frame(
    records: Iterable[TrialRecord], reward: Reward, measurements: Mapping[int, Measurement] | None = None
) -> pd.DataFrame:
    """One row for each trial, in their order; a duplicate has the figures of its original.

    Args:
        records: Trials of one run.
        reward: How A, S and P become one number, by each trial's own training and step time.
        measurements: Step times measured in isolation, by trial number.

    Returns:
        The columns of `COLUMNS`, then one for each parameter of the space; what a trial does not have is missing.
    """
    rows = [_row(record, reward, (measurements or {}).get(record.number)) for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *(name for name in names if name not in COLUMNS)])
    whole = ["params", "macs", "peak_memory_bytes", "micro_batches", "retry_of", "duplicate_of", "continues", "epochs"]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def write_trials(
    records: Iterable[TrialRecord],
    reward: Reward,
    path: Path,
    measurements: Mapping[int, Measurement] | None = None,
) -> None:
    """Write `trials.csv`, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    write_whole(path, _trials_text(records, reward, measurements))


def write_best(entry: Entry, run: Run, path: Path | None = None) -> None:
    """Write an architecture with everything its figures depend on; by default as the run's `best.yaml`.

    Raises:
        OSError: If it cannot be written.
    """
    text = dump_yaml(_best(entry, run))
    write_whole(path or run.directory.best_file, text)


def _trials_text(records: Iterable[TrialRecord], reward: Reward, measurements: Mapping[int, Measurement] | None) -> str:
    return trials_frame(records, reward, measurements).to_csv(index=False, lineterminator="\n")


def _row(record: TrialRecord, reward: Reward, measurement: Measurement | None) -> dict[str, Any]:
    candidate, outcome = record.candidate, record.outcome
    row: dict[str, Any] = {
        "number": record.number,
        "state": str(record.state),
        "architecture": candidate and candidate.architecture,
        "reason": record.reason,
        "retry_of": candidate and candidate.retry_of,
        "duplicate_of": candidate and candidate.duplicate_of,
        "continues": candidate and candidate.continues,
        "started": record.started and record.started.isoformat(timespec="milliseconds"),
        "finished": record.finished and record.finished.isoformat(timespec="milliseconds"),
        **{f"params_{name}": value for name, value in record.params.items()},
    }
    if outcome is None:
        return row | (_partial_row(record.partial) if record.partial else {})
    if measurement is not None:
        inference = measurement.inference
        row["measured_step_time_s"] = measurement.step_time.median_s
        row["inference_step_time_s"] = inference and inference.median_s
    accuracy, accuracy_se = mean_accuracy((outcome.accuracy,))
    return row | {
        "accuracy": accuracy,
        "accuracy_se": accuracy_se,
        "step_time_s": outcome.step_time_s,
        "step_time_rse": outcome.step_time_rse,
        "step_time_is_measured": outcome.step_time is not None,
        "params": outcome.params,
        "macs": outcome.macs,
        "peak_memory_bytes": outcome.peak_memory_bytes,
        "micro_batches": outcome.micro_batches,
        "reward": reward(accuracy=accuracy, step_time_s=outcome.step_time_s, params=outcome.params),
        "epochs": len(outcome.accuracy.curve) or None,
        "machine": outcome.where,
        "seconds": outcome.seconds,
    }


def _partial_row(partial: Partial) -> dict[str, Any]:
    """Of a pruned trial; its accuracy would not compare with those of whole trainings."""
    return {
        "step_time_s": partial.step_time_s,
        "params": partial.params,
        "epochs": partial.epochs,
        "machine": partial.where,
    }


def _best(entry: Entry, run: Run) -> dict[str, Any]:
    reward, preparation = run.reward(), run.preparation
    trainings = _trainings(entry, run)
    return {
        "architecture": entry.architecture,
        "trial": entry.number,
        "reward": entry.reward,
        "reward_se": entry.reward_se,
        "better_than_backbone": entry.better_than_backbone,
        "accuracy": entry.accuracy,
        "accuracy_se": entry.accuracy_se,
        "accuracies": trainings,
        "step_time_s": entry.step_time_s,
        "step_time_se": entry.step_time_se,
        "step_time_is_measured": entry.is_step_time_measured,
        "predicted_step_time_s": entry.predicted_step_time_s,
        "peak_memory_bytes": entry.peak_memory_bytes,
        "measured_peak_memory_bytes": entry.measurement and entry.measurement.peak_memory_bytes,
        "micro_batches": entry.micro_batches,
        "params": entry.params,
        "macs": entry.macs,
        "exponents": {"w": reward.w, "v": reward.v},
        "references": {"step_time_s": reward.step_time_ref_s, "params": reward.params_ref},
        "stages": [asdict(row) for row in stage_rows(parse(entry.architecture))],
        "space": run.config.space,
        "data": asdict(preparation.data),
        "seed": run.config.seed,
        "device": preparation.device,
        "step_mode": preparation.step_mode,
    }


def _trainings(entry: Entry, run: Run) -> list[dict[str, Any]]:
    """Every training of the architecture behind an entry: its own, then the further ones."""
    record = next(record for record in run.records if record.number == entry.number)
    first = [record.outcome.accuracy] if record.outcome else []
    further = run.replicates.get(entry.number, {})
    return [
        {"seed": training.seed, "accuracy": training.accuracy, "num_images": training.num_images}
        for training in [*first, *(further[key] for key in sorted(further))]
    ]
