"""The samplers by name. Asking for their names imports no Optuna."""

from typing import TYPE_CHECKING

from search_spaces.messages import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

SAMPLER_NAMES = ("tpe", "random", "nsga2")


def require_sampler(name: str) -> str:
    """The name itself.

    Raises:
        ValueError: If no sampler has this name.
    """
    if name not in SAMPLER_NAMES:
        raise ValueError(f"unknown sampler {name!r}; {did_you_mean(name, SAMPLER_NAMES)}")
    return name


def make_sampler(name: str, *, seed: int, space: "Mapping[str, BaseDistribution]") -> "BaseSampler":
    """Make a fresh sampler for one proposal; what it has learnt is in the study.

    Args:
        name: One of `SAMPLER_NAMES`.
        seed: Of this proposal.
        space: Every parameter with its distribution.

    Raises:
        ValueError: If no sampler has this name.
    """
    from optuna import samplers

    from .known_space import KnownSpaceSampler

    kinds = {"tpe": samplers.TPESampler, "random": samplers.RandomSampler, "nsga2": samplers.NSGAIISampler}
    return KnownSpaceSampler(kinds[require_sampler(name)](seed=seed), space)
