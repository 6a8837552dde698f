"""What a sampler may know of a search before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass

from proxies.costs import MemberCosts
from search_spaces.space import SearchSpace

from ..reward import Reward


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The space, what is wanted of its members, and what they cost."""

    space: SearchSpace
    seed: int
    """Of the search: what all its proposals share."""
    reward: Reward
    costs: MemberCosts | None
    """None until the step-time table is there."""
    objectives: Sequence[str] = ()
    """Empty: the reward is maximised; else "accuracy", "step_time", "params", as they come."""
