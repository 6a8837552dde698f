"""Where a search starts: members whose results tell most about those that may be good."""

import numpy as np

from proxies.costs import CostArrays, Encoded, MemberCosts
from proxies.seeds import derived_seed

from ..reward import Reward
from .descriptors import Descriptor
from .gaussian_process import Posterior, expected
from .history import Members
from .limited_members import LimitedMembers
from .neighbourhood import distinct

_CANDIDATES = 1_500
_PROMISING = 500


class Design:
    """Chooses members one by one, each so that it leaves the least doubt about the promising ones together.

    Promising are the cheapest third of the members, as the reward weighs costs: what is best lies among them rather
    than among the dear ones. Nothing but the covariance that is expected beforehand is needed for that, and no step
    times: multiply-adds stand in for them, so that a design is the same before and after a calibration.
    """

    def __init__(self, members: Members, inside: LimitedMembers, reward: Reward, costs: MemberCosts, seed: int):
        """
        Args:
            members: Of the space.
            inside: Draws those that may be chosen.
            reward: Says how much multiply-adds and parameters weigh.
            costs: Of members.
            seed: Of the search.
        """
        rng = np.random.default_rng(derived_seed(seed, "design"))
        self._describe = Descriptor(members.space, lambda encoded: _without_step_time(costs(encoded)))
        self._candidates = distinct(inside.random(_CANDIDATES, rng))
        others = inside.random(_CANDIDATES, rng)
        of_others = costs(others)
        factors = reward.w * np.log(of_others.macs) + reward.v * np.log(of_others.params)
        self._promising = self._describe(others[np.argsort(-factors, kind="stable")[:_PROMISING]])

    def ranking(self, known: Encoded) -> Encoded:
        """Candidates after some members are known, the most telling first."""
        points = self._describe(self._candidates)
        h = expected(points.bits.shape[1], points.features.shape[1])
        seen = self._describe(known)
        posterior = Posterior(h, seen, np.zeros(len(seen)))
        _, deviation = posterior(points)
        told = posterior.between(points, self._promising) / np.sqrt(deviation**2 + h.noise)[:, None]
        return self._candidates[np.argsort(-(told**2).sum(axis=1), kind="stable")]


def _without_step_time(costs: CostArrays) -> CostArrays:
    return CostArrays(step_time_s=None, params=costs.params, macs=costs.macs)
