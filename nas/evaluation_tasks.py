"""What a worker can be asked, and what it answers: values only, so that the driver needs no torch and it no Optuna."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxies.device_identity import DeviceIdentity
from proxies.step_time import StepTime
from proxies.step_time_table import StepTimeTable
from proxies.training.config import Fidelity, TrainConfig

from .config import SearchConfig
from .executors.interface import Demand, Evaluate


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
    target: DeviceIdentity
    """The device that is timed, with the threads of a timed step."""
    canary_s: float | None = None
    """Seconds of a step of the canary, as an execution mode that works everywhere has it; None: not timed."""


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
    canary_s: float
    """Seconds that a step of the canary stands for in every measurement of this run."""
    target_kind: str
    """ "cpu", "cuda" or "mps": the device whose memory counts."""
    is_target_here: bool
    """Whether the device whose S counts can be timed here; if not, S stays predicted."""
    step_time_ref_s: float
    """S of the backbone, seconds: the reward's reference."""
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
    micro_batches: int = 1
    """Parts that each batch was computed in, because memory did not suffice for a whole one."""

    @property
    def accuracy(self) -> float:
        """A, top-1, a fraction."""
        return self.num_correct / self.num_images


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """What is known of a candidate after an epoch of its short training, told while it goes on."""

    epoch: int
    """1…num_epochs."""
    num_epochs: int
    num_correct: int
    num_images: int
    train_loss: float
    train_seconds: float
    """Of all its epochs up to this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a worker found out about a candidate."""

    accuracy: AccuracyRecord
    seconds: float
    """Wall time of the whole evaluation in its worker."""
    step_time: StepTime | None = None
    """None where S is known to the driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    """Look at the images and the machine; the result is an `Inspection`."""

    place: str | None = None
    """The machine; None: any whose step time counts."""
    target: str | None = None
    """Ray resource of those machines; None: the configuration's first."""
    with_canary: bool = False
    """Whether its canary is timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Find the execution mode and measure the backbone; the result is a `Preparation`."""

    inspection: Inspection
    table: StepTimeTable | None = None
    """Calibrated before on the device that is timed."""
    is_target_here: bool = True
    """Whether the device whose S counts is the one here."""
    target: str | None = None
    """As of `Inspect`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrate:
    """Time the blocks of the space, and some of its networks; the result is a `StepTimeTable`."""

    preparation: Preparation
    target: str | None = None
    """As of `Inspect`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Train a candidate, and time it where its S is not known; the result is an `Evaluation`."""

    architecture: str
    seed: int
    preparation: Preparation
    """Of the run."""
    measure: bool
    """Whether its step is timed."""
    micro_batches: int = 1
    """Parts of a batch in the step that is timed."""
    train_size: int | None = None
    """Pixels per side of the short training; None: the fidelity's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Time a candidate's step in several visits; the result is a `Measurement`."""

    architecture: str
    preparation: Preparation
    micro_batches: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What isolated visits to a finalist showed."""

    step_time: StepTime
    inference: StepTime | None = None
    """A step of inference, if it was asked for."""
    peak_memory_bytes: int | None = None
    """Of a training step, measured; None where the device does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrain:
    """Train a candidate again with another seed, or otherwise; the result is an `AccuracyRecord`."""

    architecture: str
    seed: int
    preparation: Preparation
    fidelity: Fidelity | None = None
    """None: the search's."""
    train: TrainConfig | None = None
    """Likewise."""


Work = Inspect | Prepare | Calibrate | Judge | Measure | Retrain


def demand_of(config: SearchConfig, work: object) -> Demand:
    """What a task asks of the machine it runs on: what is timed is timed where step time counts."""
    targets = config.step_time.targets
    first = targets[0].resource if targets else None
    match work:
        case Inspect(place=None, target=target):
            return Demand(resource=target or first)
        case Inspect(place=place):
            return Demand(place=place)
        case Prepare(target=target) | Calibrate(target=target):
            return Demand(resource=target or first, alone=True)
        case Measure():
            return Demand(resource=first, alone=True)
        case Judge(measure=True):
            return Demand(resource=first)
    return Demand()


def make_evaluator(config: SearchConfig, worker: int) -> Evaluate:
    """Make a worker's evaluation; only here, in the worker, torch is imported."""
    from .evaluation import Evaluator

    return Evaluator(config, worker)
