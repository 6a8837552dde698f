"""The samplers by name. Asking for their names imports no Optuna."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from search_spaces.messages import did_you_mean

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from .problem import Problem

SAMPLER_NAMES = ("tpe", "random", "nsga2")


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
    from .known_space import KnownSpaceSampler

    kinds = {"tpe": samplers.TPESampler, "random": samplers.RandomSampler, "nsga2": samplers.NSGAIISampler}
    kind, known = kinds[require_sampler(name)], distributions(problem.space)
    return lambda seed: KnownSpaceSampler(kind(seed=seed), known)
