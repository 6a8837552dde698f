"""How likely a member can be trained at all, from those that turned out infeasible."""

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded

from .descriptors import Descriptor
from .gaussian_process import Posterior, expected

_LEAST = 0.01


class Feasibility:
    """A Gaussian process through 0 (feasible) and -1 (infeasible): nothing is suspected before something failed."""

    def __init__(self, describe: Descriptor, judged: Encoded, is_feasible: NDArray[np.bool_]) -> None:
        """
        Args:
            describe: Makes points of members.
            judged: Members with a verdict, (N, number of choices).
            is_feasible: Theirs, (N,).
        """
        self._describe, self._posterior = describe, None
        if not is_feasible.all():
            points = describe(judged)
            h = expected(points.bits.shape[1], points.features.shape[1])
            self._posterior = Posterior(h, points, np.where(is_feasible, 0.0, -1.0))

    def log_probability(self, encoded: Encoded) -> NDArray[np.float64]:
        """Logarithm of the probability that members can be trained, (N,)."""
        if self._posterior is None:
            return np.zeros(len(encoded))
        mean, _ = self._posterior(self._describe(encoded))
        return np.log(np.clip(1.0 + mean, _LEAST, 1.0))
