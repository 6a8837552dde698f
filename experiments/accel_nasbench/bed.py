"""A search space in which every accuracy is known at once: what samplers are played on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.reward import Reward
from proxies.costs import CostArrays, Encoded, MemberCosts
from proxies.seeds import derived_seed
from search_spaces.space import SearchSpace

from .surrogates import Predict

SEED_NOISE = 0.0029
"""Standard deviation of accuracy between trainings of one architecture with different seeds."""


@dataclass(frozen=True, kw_only=True)
class Bed:
    """Accuracy and costs of members, and the best reward among them."""

    name: str
    title: str
    """In a table's or a figure's heading."""
    space: SearchSpace
    accuracy: Predict
    """Noise-free, fractions."""
    costs: MemberCosts
    reward: Reward
    optimum: float
    """R*: the highest reward of any member that can be trained."""
    best: tuple[int, ...]
    """The member that has it."""
    pool: Encoded | None = None
    """The only members that can be trained, (M, number of choices); None: all."""

    def rewards(self, encoded: Encoded) -> NDArray[np.float64]:
        """Noise-free rewards of members, (N,)."""
        return self.accuracy(encoded) * cost_factors(self.reward, self.costs(encoded))

    def gap(self, reward: float) -> float:
        """How far a reward is below the best, as a fraction of the best."""
        # Twelve digits: sums in another order differ in the sixteenth, and a gap of -0 looks wrong.
        return round((self.optimum - reward) / self.optimum, 12) + 0.0

    @cached_property
    def backbone(self) -> tuple[int, ...]:
        return self.space.encode(self.space.backbone)


def cost_factors(reward: Reward, costs: CostArrays) -> NDArray[np.float64]:
    """What accuracies are multiplied by, (N,).

    Raises:
        ValueError: If step times are not known.
    """
    if costs.step_time_s is None:
        raise ValueError("a bed must know step times, got None")
    of_time = (costs.step_time_s / reward.step_time_ref_s) ** reward.w
    return np.asarray(of_time * (costs.params / reward.params_ref) ** reward.v)


def reference_reward(space: SearchSpace, costs: MemberCosts) -> Reward:
    """The paper's exponents with the space's backbone as reference.

    Raises:
        ValueError: If step times are not known.
    """
    of_backbone = costs(np.array([space.encode(space.backbone)]))
    if of_backbone.step_time_s is None:
        raise ValueError("a bed must know step times, got None")
    return Reward(step_time_ref_s=float(of_backbone.step_time_s[0]), params_ref=round(float(of_backbone.params[0])))


def seed_noise(seed: int, places: tuple[int, ...], replicate: int = 0, *, spread: float = SEED_NOISE) -> float:
    """What one training's accuracy is off by, the same whenever it is asked for.

    Args:
        seed: Of the game.
        places: The architecture.
        replicate: 0 for its first training, 1, 2 … for further ones.
        spread: Standard deviation, a fraction.
    """
    rng = np.random.default_rng(derived_seed(seed, "noise", *places, replicate))
    return float(rng.normal(0.0, spread))
