"""Which members of a space an audit trains: spread by what they cost, since a uniform sample crowds in the middle."""

import random

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from proxies.costs import CostModel
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace

from ..executors.interface import RefusedError
from ..limits import Limits

_POOL = 4_000
NO_LIMITS = Limits(())


def spread_sample(
    space: SearchSpace, costs: CostModel, number: int, *, seed: int, limits: Limits = NO_LIMITS
) -> list[Architecture]:
    """Members of a space that lie far apart in MACs and step time, from the cheapest to the dearest; no two alike.

    A sample is the beginning of every larger one with the same seed.

    Args:
        space: Whose members are sampled.
        costs: Know MACs and step times.
        number: Of members.
        seed: Of the pool that they are chosen from.
        limits: What no search would train is left out: over a wider range than a search's every proxy ranks better.

    Raises:
        RefusedError: If fewer members are found that keep the limits.
        ValueError: If step times are not known beforehand.
    """
    rng = random.Random(seed)
    drawn = list(dict.fromkeys(space.sample(rng) for _ in range(_POOL)))
    rows = np.stack([space.encode(architecture) for architecture in drawn])
    keep = np.flatnonzero(limits.allowed(rows))
    pool, known = [drawn[place] for place in keep], costs.over(space)(rows[keep])
    if len(pool) < number:
        raise RefusedError(
            f"num_architectures must be at most {len(pool)}, which were found in the space within its limits, got "
            f"{number}"
        )
    if known.step_time_s is None:
        raise ValueError("an audit needs known step times: step_time.method predicted or macs")
    # By rank, so that neither outliers nor the crowd decide how densely a region is covered.
    places = np.stack([rankdata(known.macs), rankdata(known.step_time_s)], axis=1) / len(pool)
    return [pool[place] for place in _farthest_points(places, number)]


def _farthest_points(points: NDArray[np.float64], number: int) -> list[int]:
    """Places of points, each as far as can be from all before it; the first lies nearest to the middle.

    Args:
        points: (N, dimensions).
        number: How many.
    """
    chosen = [int(np.argmin(np.linalg.norm(points - 0.5, axis=1)))]
    distances = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < number:
        distances[chosen] = -1.0
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen
