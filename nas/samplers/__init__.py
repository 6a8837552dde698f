"""The samplers by name. Asking for their names imports no Optuna."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from search_spaces.messages import did_you_mean

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from .problem import Problem

SAMPLER_NAMES = ("known-cost", "tpe", "gp", "nsga2", "evolution", "reinforce", "random")
MULTI_OBJECTIVE_SAMPLERS = ("known-cost", "tpe", "nsga2", "random")
"""Those that search a Pareto front, too."""


def require_sampler(name: str) -> str:
    """The name itself.

    Raises:
        ValueError: If no sampler has this name.
    """
    if name not in SAMPLER_NAMES:
        raise ValueError(f"unknown sampler {name!r}; {did_you_mean(name, SAMPLER_NAMES)}")
    return name


def make_sampler(name: str, problem: "Problem") -> "Callable[[int], BaseSampler]":
    """Make what makes samplers: a fresh one for each proposal, from the proposal's seed.

    What a sampler has learnt is in the study, so a search that was killed goes on as if nothing had happened.

    Args:
        name: One of `SAMPLER_NAMES`.
        problem: What is searched.

    Raises:
        ValueError: If no sampler has this name.
    """
    from optuna import samplers

    from ..trials import distributions
    from .evolution import EvolutionSampler
    from .knowledge import Knowledge
    from .known_cost import KnownCostSampler
    from .known_space import KnownSpaceSampler
    from .random_search import RandomSearchSampler
    from .reinforce import ReinforceSampler
    from .repeat_free import RepeatFreeSampler

    space, known, expected = problem.space, distributions(problem.space), problem.expected
    if name == "known-cost":
        knowledge = Knowledge(problem)
        return lambda seed: KnownCostSampler(knowledge, seed=seed)
    kinds: dict[str, Callable[[int], BaseSampler]] = {
        "tpe": lambda seed: KnownSpaceSampler(samplers.TPESampler(seed=seed), known),
        "gp": lambda seed: RepeatFreeSampler(samplers.GPSampler(seed=seed), space, seed=seed),
        "nsga2": lambda seed: KnownSpaceSampler(samplers.NSGAIISampler(seed=seed), known),
        "evolution": lambda seed: EvolutionSampler(space, seed=seed, expected=expected),
        "reinforce": lambda seed: ReinforceSampler(space, seed=seed, expected=expected),
        "random": lambda seed: RandomSearchSampler(space, seed=seed),
    }
    return kinds[require_sampler(name)]
