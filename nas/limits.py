"""What a candidate may cost at most, as far as it is known before it is trained: judged exactly, launched never."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded
from search_spaces.space import SearchSpace
from search_spaces.space_blocks import stage_columns

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit."""

    key: str
    """Of the configuration."""
    most: float
    """In the key's unit."""
    cost: Callable[[Encoded], Array]
    """Of members, (N,), in the same unit; must be positive."""
    phrase: str
    """Says what a member costs, e.g. ``it would have {:,.0f} parameters``."""

    def beyond(self, cost: float) -> str:
        """That a cost is beyond the limit, in figures."""
        return f"{self.phrase.format(cost)}, {self.key} is {self.most:,.12g}"


@dataclass(frozen=True)
class Limits:
    """The limits of a search; by default none."""

    each: tuple[Limit, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.each)

    def excess(self, encoded: Encoded) -> Array:
        """Logarithm of cost ÷ limit where that is highest, (N,): at most 0 for members that keep every limit."""
        found = [np.log(limit.cost(encoded) / limit.most) for limit in self.each]
        return np.asarray(np.max(found, axis=0)) if found else np.full(len(encoded), -np.inf)

    def allowed(self, encoded: Encoded) -> NDArray[np.bool_]:
        """Which members keep every limit, (N,)."""
        kept = [limit.cost(encoded) <= limit.most for limit in self.each]
        return np.asarray(np.all(kept, axis=0)) if kept else np.ones(len(encoded), dtype=np.bool_)

    def reason(self, places: Sequence[int]) -> str | None:
        """Why a member is beyond a limit, in figures; None for one that keeps all."""
        encoded = np.array([places])
        for limit in self.each:
            cost = float(limit.cost(encoded)[0])
            if cost > limit.most:
                return limit.beyond(cost)
        return None

    def unreachable(self, space: SearchSpace) -> str | None:
        """Which limit no member of the space keeps, even if the others did not matter; None if there is none."""
        descent = _Descent(space)
        for limit in self.each:
            least = float(limit.cost(descent(limit.cost))[0])
            if least > limit.most:
                return f"no member of the space keeps {limit.key}: at the least, {limit.beyond(least)}"
        return None

    def cheapest(self, space: SearchSpace) -> Encoded:
        """A member that is as far within the limits as can be found stage by stage, (1, number of choices)."""
        return _Descent(space)(self.excess)


class _Descent:
    """Finds the least cost by changing whole stages until no other stage would lower it.

    A cost that is a sum over stages is lowest where each stage's is. Memory, and step times on several devices, are no
    sums, but nearly: what is found is then the least that no single stage improves.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._start = np.array([space.encode(space.backbone)])
        sizes = [len(values) for values in space.choices.values()]
        columns = [stage_columns(space, number) for number, _ in enumerate(space.stages, start=1)]
        self._stages = [(own, _combinations([sizes[column] for column in own])) for own in columns if own]

    def __call__(self, cost: Callable[[Encoded], Array]) -> Encoded:
        """The member of least cost, (1, number of choices)."""
        member, least = self._start, float(cost(self._start)[0])
        is_lowered = True
        while is_lowered:
            is_lowered = False
            for columns, combinations in self._stages:
                variants = np.repeat(member, len(combinations), axis=0)
                variants[:, columns] = combinations
                costs = cost(variants)
                place = int(np.argmin(costs))
                if costs[place] < least:
                    member, least, is_lowered = variants[[place]], float(costs[place]), True
        return member


def _combinations(sizes: Sequence[int]) -> NDArray[np.int64]:
    return np.array(list(product(*map(range, sizes))), dtype=np.int64)
