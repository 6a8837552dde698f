"""What a worker can be asked, and what it answers: values only, so that the driver needs no torch and it no Optuna."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxies.step_time import StepTime

from .config import SearchConfig
from .executors.interface import Evaluate


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What a search must know of the images before its first candidate."""

    source: str
    num_classes: int
    in_channels: int
    num_train: int
    """Images a training may use, before `Fidelity.data_share`."""
    num_minival: int
    digest: str
    """Changes with any image, label or split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What every start of a search looks at, so that a run is not resumed with other images or on another machine."""

    data: DataFacts
    hardware: str
    """Of the devices that train and that are timed."""
    device: str
    """Hardware and software of the device that trains, as one text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What is found out once, before the first candidate, and holds for the whole run."""

    data: DataFacts
    mode: str
    """The fastest correct execution mode of the short training."""
    step_mode: str
    """That of the step that is timed, in the number format that was asked for."""
    mode_seconds: Mapping[str, float]
    """Seconds of a training step of the backbone in each mode that was tried and correct."""
    hardware: str
    """Of the devices that train and that are timed; S of other hardware would not compare."""
    device: str
    """Hardware and software of the device that trains, as one text."""
    step_threads: int
    """CPU threads of every timed step, however many workers there are later."""
    step_time_ref_s: float
    """S of the backbone, seconds: what a candidate's ratio is multiplied by."""
    params_ref: int
    training_seconds: float
    """Estimate of one short training of the backbone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRecord:
    """One short training's result on the minival images."""

    num_correct: int
    num_images: int
    seed: int
    train_seconds: float
    curve: tuple[float, ...] = ()
    """Accuracy after each epoch."""
    losses: tuple[float, ...] = ()
    """Mean training loss of each epoch."""

    @property
    def accuracy(self) -> float:
        """A, top-1, a fraction."""
        return self.num_correct / self.num_images


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a worker found out about a candidate."""

    accuracy: AccuracyRecord
    step_time: StepTime
    seconds: float
    """Wall time of the whole evaluation in its worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    """Look at the images and the machine; the result is an `Inspection`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Find the execution mode and measure the backbone; the result is a `Preparation`."""

    inspection: Inspection


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Measure a candidate's step time and train it; the result is an `Evaluation`."""

    architecture: str
    seed: int
    mode: str
    """Execution mode of the training."""
    step_mode: str
    """Execution mode of the step that is timed."""
    step_threads: int
    """CPU threads of that step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrain:
    """Train a candidate again with another seed; the result is an `AccuracyRecord`."""

    architecture: str
    seed: int
    mode: str


Work = Inspect | Prepare | Judge | Retrain


def make_evaluator(config: SearchConfig, worker: int) -> Evaluate:
    """Make a worker's evaluation; only here, in the worker, torch is imported."""
    from .evaluation import Evaluator

    return Evaluator(config, worker)
