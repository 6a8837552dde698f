"""An evaluation as a file: JSON with everything, or CSV with a row for each class and size."""

import csv
import io
import json
from pathlib import Path

from proxies.classification import Classification, ClassScore
from proxies.evaluation import Score

from ..run_directory import write_whole
from .evaluation import Evaluation

SUFFIXES = (".json", ".csv")


def require_name(path: Path) -> None:
    """Make sure that an evaluation can be written there.

    Raises:
        ValueError: If the suffix is unknown or the folder is missing.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"--out must end in {' or '.join(SUFFIXES)}, got {path}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"no such folder: {path.absolute().parent}")


def write_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Write it, whole or not at all, in the format that the suffix names.

    Raises:
        OSError: If it cannot be written.
    """
    write_whole(path, _csv(evaluation) if path.suffix == ".csv" else _json(evaluation))


def _json(evaluation: Evaluation) -> str:
    told = {
        "architecture": evaluation.architecture,
        "weights": evaluation.weights,
        "source": evaluation.source,
        "split": evaluation.part,
        "num_skipped": evaluation.num_skipped,
        "normalisation": {
            "mean": evaluation.normalisation.mean,
            "std": evaluation.normalisation.std,
            "origin": evaluation.normalised_as,
        },
        "mode": evaluation.mode,
        "device": evaluation.device,
        "sizes": [_size(each, evaluation.class_names) for each in evaluation.results],
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def _size(result: Classification, names: tuple[str, ...]) -> dict[str, object]:
    return {
        "resolution": result.resolution,
        "top1": _score(result.score),
        "top5": None if result.top_score is None else _score(result.top_score),
        "balanced_accuracy": result.balanced_accuracy,
        "classes": [_class(name, each) for name, each in zip(names, result.classes, strict=True)],
    }


def _score(score: Score) -> dict[str, float]:
    return {
        "accuracy": score.accuracy,
        "standard_error": score.standard_error,
        "num_correct": score.num_correct,
        "num_images": score.num_images,
    }


def _class(name: str, score: ClassScore) -> dict[str, object]:
    return {
        "name": name,
        "accuracy": score.accuracy,
        "standard_error": score.standard_error,
        "precision": score.precision,
        "num_correct": score.num_correct,
        "num_images": score.num_images,
        "num_predicted": score.num_predicted,
    }


def _csv(evaluation: Evaluation) -> str:
    rows = [
        {"resolution": result.resolution, **_class(name, each)}
        for result in evaluation.results
        for name, each in zip(evaluation.class_names, result.classes, strict=True)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
