"""The samplers by name. Asking for their names imports no Optuna."""

from typing import TYPE_CHECKING

from search_spaces.spelling import did_you_mean

if TYPE_CHECKING:
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


def make_sampler(name: str, *, seed: int) -> "BaseSampler":
    """Make a fresh sampler for one proposal; what it has learnt is in the study.

    Raises:
        ValueError: If no sampler has this name.
    """
    from optuna import samplers

    require_sampler(name)
    if name == "random":
        return samplers.RandomSampler(seed=seed)
    if name == "nsga2":
        return samplers.NSGAIISampler(seed=seed)
    return samplers.TPESampler(seed=seed)
