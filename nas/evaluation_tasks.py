"""What a worker can be asked to do. Values only: the driver makes them without importing torch."""

from dataclasses import dataclass

from .config import SearchConfig
from .executors.interface import Evaluate
from .trials import DataFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    """Look at the images; the result is `DataFacts`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Find the execution mode and measure the backbone; the result is a `Preparation`."""

    data: DataFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Measure a candidate's step time and train it; the result is an `Evaluation`."""

    architecture: str
    seed: int
    mode: str
    """Execution mode of the training."""
    step_mode: str
    """Execution mode of the step that is timed."""


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
