"""A training as its directory tells it: what reports and tables read. Needs no torch."""

import csv
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from proxies.binomial import binomial_error
from proxies.training.progressive import ProgressiveStage
from search_spaces.messages import first_line

from ..run_directory import write_whole

FORMAT = 1
"""Version of the file; others are refused."""

State = Literal["running", "stopped", "finished", "diverged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What is known after an epoch."""

    epoch: int
    """1…, over all stages."""
    stage: int
    """1…"""
    train_loss: float
    """Mean over the epoch's steps."""
    learning_rate: float
    """Of the epoch's last step."""
    num_trained: int
    """Images of the epoch's steps."""
    train_seconds: float
    """Of the epoch's steps, evaluation left out."""
    eval_seconds: float
    num_correct: int
    """Of the judging images, by the network as it is trained."""
    ema_num_correct: int | None
    """By the average of its weights; None where none is kept."""
    num_judged: int

    @property
    def accuracy(self) -> float:
        return self.num_correct / self.num_judged

    @property
    def ema_accuracy(self) -> float | None:
        return None if self.ema_num_correct is None else self.ema_num_correct / self.num_judged

    @property
    def judged_accuracy(self) -> float:
        """By the weights that are kept in the end: their average, where there is one."""
        return self.accuracy if self.ema_accuracy is None else self.ema_accuracy

    @property
    def judged_standard_error(self) -> float:
        """Of `judged_accuracy`, from the number of judging images."""
        return binomial_error(self.judged_accuracy * self.num_judged, self.num_judged)

    @property
    def images_per_s(self) -> float:
        return self.num_trained / self.train_seconds if self.train_seconds else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that a reader of the curves should know of."""

    epoch: int
    """In which it happened, 1…"""
    kind: Literal["resumed", "rolled back", "skipped images"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """A training, running or ended."""

    format: int = FORMAT
    architecture: str
    """Its text; the resolution is that of the last stage."""
    num_classes: int
    in_channels: int
    class_names: tuple[str, ...]
    source: str
    """Of the images."""
    data_digest: str = ""
    """Of the images and labels that train and judge; empty where nobody took it."""
    num_train: int
    num_judged: int
    judged_by: Literal["minival", "test"]
    """Which images the curves are of."""
    normalisation_mean: tuple[float, ...]
    """Per channel, in units of a pixel of 0…255."""
    normalisation_std: tuple[float, ...]
    test_size: int
    """Pixels per side at which it is judged."""
    initial_weights: str | None
    """Where the weights come from that it started with; None: drawn."""
    mode: str
    """How steps are executed, e.g. "bfloat16-channels_last"."""
    device: str
    world_size: int
    stages: tuple[ProgressiveStage, ...]
    epochs: tuple[EpochRecord, ...] = ()
    events: tuple[Event, ...] = ()
    state: State = "running"

    @property
    def num_epochs(self) -> int:
        """Planned, over all stages."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def best(self) -> EpochRecord | None:
        """The epoch whose weights are kept: the most accurate, of equal ones the last."""
        return max(self.epochs, key=lambda record: (record.judged_accuracy, record.epoch), default=None)


_ADAPTER = TypeAdapter(TrainingRecord)


def dump_record(record: TrainingRecord) -> str:
    """The record as JSON."""
    return _ADAPTER.dump_json(record, indent=1).decode() + "\n"


def parse_record(text: str | bytes) -> TrainingRecord:
    """The exact inverse of `dump_record`.

    Raises:
        ValueError: In one line, if the text is damaged or of another version.
    """
    try:
        record = _ADAPTER.validate_json(text)
    except ValidationError as error:
        raise ValueError(f"no record of a training: {str(error).splitlines()[0]}") from None
    if record.format != FORMAT:
        raise ValueError(f"a record of a training must be of format {FORMAT}, got {record.format}")
    return record


def write_record(record: TrainingRecord, path: Path) -> None:
    """Write the record, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    write_whole(path, dump_record(record))


def read_record(path: Path) -> TrainingRecord:
    """Read what `write_record` wrote.

    Raises:
        ValueError: In one line, if the file is missing, damaged or of another version.
    """
    try:
        return parse_record(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"no training there: {path} is missing") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {first_line(error)}") from None


def write_curves(record: TrainingRecord, path: Path) -> None:
    """Write one row for each epoch, with its stage's settings; whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    rows = [
        {
            **asdict(entry),
            "accuracy": entry.accuracy,
            "ema_accuracy": entry.ema_accuracy,
            "images_per_s": entry.images_per_s,
            **{name: value for name, value in asdict(record.stages[entry.stage - 1]).items() if name != "epochs"},
        }
        for entry in record.epochs
    ]
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_whole(path, text.getvalue())


def weights_metadata(record: TrainingRecord) -> dict[str, str]:
    """What a file of its weights says of the training, beside the settings of the network."""
    best = record.best
    judged = {} if best is None else {"accuracy": f"{best.judged_accuracy:.6f}", "epoch": str(best.epoch)}
    return judged | {
        "normalisation_mean": ",".join(map(str, record.normalisation_mean)),
        "normalisation_std": ",".join(map(str, record.normalisation_std)),
        "test_size": str(record.test_size),
        "class_names": json.dumps(record.class_names),
        "source": record.source,
    }
