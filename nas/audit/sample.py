"""Which members of a space an audit trains: spread by what they cost, since a uniform sample crowds in the middle."""

import random

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from proxies.costs import CostModel
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace

_POOL = 2_000


def spread_sample(space: SearchSpace, costs: CostModel, number: int, *, seed: int) -> list[Architecture]:
    """Members of a space that lie far apart in MACs and step time, from the cheapest to the dearest; no two alike.

    A sample is the beginning of every larger one with the same seed.

    Args:
        space: Whose members are sampled.
        costs: Know MACs and step times.
        number: Of members.
        seed: Of the pool that they are chosen from.

    Raises:
        ValueError: If the space has fewer members, or step times are not known beforehand.
    """
    rng = random.Random(seed)
    pool = list(dict.fromkeys(space.sample(rng) for _ in range(max(_POOL, 4 * number))))
    if len(pool) < number:
        raise ValueError(f"the space must have at least {number} members, found {len(pool)}")
    known = costs.over(space)(np.stack([space.encode(architecture) for architecture in pool]))
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
