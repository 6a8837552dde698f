"""What an audit has found out so far, read back from its directory; what tables, figures and advice are made of."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxies.costs import Costs
from proxies.training.config import Fidelity

from ..evaluation_tasks import AccuracyRecord
from .config import AuditConfig, ProxyTraining


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedArchitecture:
    """A member of the sample."""

    architecture: str
    """Text form."""
    costs: Costs
    """S, parameters, MACs and memory of the target training's step."""
    reward_factor: float
    """R / A: the part of the reward that is known before any training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training of an audit."""

    number: int
    """The architecture's place in the sample."""
    training: str
    """`ProxyTraining.key`."""
    replicate: int
    """0, 1 …: each has a seed of its own, and no two trainings of an audit share one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResults:
    """An audit, finished or not."""

    config: AuditConfig
    architectures: tuple[AuditedArchitecture, ...]
    trainings: Mapping[Cell, AccuracyRecord]
    """With accuracy after each epoch and seconds of training."""
    failed: Mapping[Cell, str]
    """Reasons."""
    device: str
    """Where it was trained."""

    def planned(self) -> list[Cell]:
        """Every training of the audit, in the order in which they are done."""
        return planned_cells(self.config, len(self.architectures))

    @property
    def is_complete(self) -> bool:
        return all(cell in self.trainings or cell in self.failed for cell in self.planned())


def planned_cells(config: AuditConfig, num_architectures: int) -> list[Cell]:
    """The target first, then the proxies from the cheapest on, then what only narrows intervals."""

    def cells(training: ProxyTraining, replicate: int) -> list[Cell]:
        return [Cell(number=n, training=training.key, replicate=replicate) for n in range(num_architectures)]

    size = config.search.search_space().resolution
    proxies = sorted(config.audited, key=lambda proxy: rough_cost(proxy, size))
    rounds = [cells(config.target, 0)]
    rounds += [cells(proxy, 0) for proxy in proxies]
    rounds += [cells(config.target, replicate) for replicate in range(1, config.target_seeds)]
    rounds += [cells(proxy, replicate) for replicate in range(1, config.proxy_seeds) for proxy in proxies]
    return [cell for round in rounds for cell in round]


def rough_cost(training: Fidelity, resolution: int) -> float:
    """What a training costs beside others, before any has been measured: images seen, by their pixels and width.

    Args:
        training: How much of it.
        resolution: Pixels per side of a training that names none, the space's.
    """
    pixels = (training.resolution or resolution) ** 2
    return training.epochs * training.data_share * pixels * training.width
