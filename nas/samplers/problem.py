"""What a sampler may know of a search before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded, MemberCosts
from search_spaces.space import SearchSpace

from ..limits import Limits
from ..reward import Reward
from .history import Expectation, nothing_expected


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRun:
    """What another search of the same space found out, on other images or another device maybe."""

    members: Encoded
    """(N, number of choices)"""
    accuracies: NDArray[np.float64]
    """Fractions, (N,)."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The space, what is wanted of its members, and what they cost."""

    space: SearchSpace
    seed: int
    """Of the search: what all its proposals share."""
    reward: Reward
    costs: MemberCosts
    """Without step times while there is no table, or where they are measured."""
    is_priced: bool = True
    """Whether the costs are all that will be known beforehand; not while there is no table yet."""
    objectives: Sequence[str] = ()
    """Empty: the reward is maximised; else "accuracy", "step_time", "params", as they come."""
    limits: Limits = field(default_factory=Limits)
    """What members may cost at most, as far as that is known beforehand."""
    earlier: Sequence[EarlierRun] = ()
    expected: Expectation = nothing_expected
    """Of pruned members."""
