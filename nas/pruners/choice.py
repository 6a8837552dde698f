"""The pruner that a configuration names."""

from ..config import SearchConfig
from .interface import Pruner
from .known_cost import KnownCostPruner
from .rungs import Hyperband, SuccessiveHalving, rungs_below
from .together import Together


def make_pruner(config: SearchConfig) -> Pruner:
    """The configuration's pruners as one; where it names none, one that lets every training go on."""
    return Together([_make(name, config) for name in config.pruners])


def promotes(config: SearchConfig) -> bool:
    """Whether a pruned candidate may go on later."""
    return not {"halving", "hyperband"}.isdisjoint(config.pruners)


def _make(name: str, config: SearchConfig) -> Pruner:
    if name == "known-cost":
        return KnownCostPruner(confidence=config.pruning_confidence)
    factor = config.rungs.factor
    rungs = rungs_below(config.fidelity.epochs, first=config.rungs.first, factor=factor)
    return SuccessiveHalving(rungs, factor=factor) if name == "halving" else Hyperband(rungs, factor=factor)
