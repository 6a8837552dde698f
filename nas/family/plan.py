"""From a start and the members that are wanted to a family: the largest network that keeps each budget."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from proxies.complexity import count_params
from proxies.costs import Costs
from search_spaces.architecture import Architecture
from search_spaces.ladders import Rung
from search_spaces.scaling import Coefficients, LateGrowth, cap_resolution, require_within_cap, train_size_for

from ..regularization import regularization_for
from .budget import Budget, Request
from .growth import Multipliers, along, compounded
from .members import Family, Member, Setting, StepTimeFigure
from .source import CostsOf
from .start import USUAL_RUNG, Start

_PHI_STEP = 0.02
_SIZE_OF_S = {"efficientnet": "b4", "efficientnetv2": "s"}
"""Members as large as V2-S, against which regularisation is set."""
_FARTHEST = 8.0
"""Steps above and below the network that are looked at: factors of about 256 in multiply-adds."""
_NUM_STEPS = round(_FARTHEST / _PHI_STEP)
_PHIS = tuple(round(step * _PHI_STEP, 9) for step in range(-_NUM_STEPS, _NUM_STEPS + 1))


class StepTimesUnknownError(ValueError):
    """A budget asks for step times that nobody has predicted."""


@dataclass(frozen=True, slots=True)
class _Sized:
    """A network of the family that could become a member."""

    architecture: Architecture
    computed_test_size: int
    phi: float | None
    late_growth: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Makes the members of one family."""

    start: Start
    costs: CostsOf
    """At each architecture's own resolution; with step times where budgets ask for them."""
    max_size: int | None
    """Cap on inference sizes; None lifts it."""
    coefficients: Coefficients | None = None
    """α, β, γ; None: growth along the start's ladder."""

    def plan(self, requests: Sequence[Request], setting: Setting) -> Family:
        """The family of the members that are wanted.

        Raises:
            ValueError: If a name is unknown, no network keeps a budget, or a size is above the cap.
        """
        self._require_own_size_within_cap()
        names = [request.name for request in requests]
        if len(set(names)) < len(names):
            raise ValueError(f"members must have different names, got {', '.join(names)}")
        start, chosen = self.start, [(request.name, self._choose(request)) for request in requests]
        return Family(
            network=str(start.network),
            base=str(start.base),
            width=start.width,
            depth=start.depth,
            ladder=start.ladder.name,
            stands_at=start.rung.name,
            coefficients=self.coefficients,
            max_size=self.max_size,
            setting=setting,
            members=tuple(self._member(name, sized) for name, sized in chosen),
        )

    def grown(self, request: Request | None) -> Architecture | None:
        """The largest network under a budget, or of at most twice the network's MACs; None where there is none."""
        budget = request.budget if request else Budget(macs=2 * self.costs(self.start.network).macs)
        sized = self._largest(budget)
        return sized.architecture if sized and sized.architecture != self.start.network else None

    def _choose(self, request: Request) -> _Sized:
        budget, rung = request.budget, self._rung(request)
        try:
            if budget.test_size is not None:
                require_within_cap(budget.test_size, self.max_size)
            if rung is not None and budget.is_open:
                return self._at_rung(rung, budget.test_size)
            sized = self._largest(budget)
            if sized is None:
                raise ValueError(self._why_impossible(budget))
            return sized
        except ValueError as error:
            raise ValueError(f"{request.name}: {error}") from None

    def _rung(self, request: Request) -> Rung | None:
        names = {rung.name: rung for rung in self.start.ladder.rungs}
        if request.name not in names and request.budget.is_open:
            known = ", ".join(names)
            raise ValueError(f"{request.name} is no size of {self.start.ladder.name} ({known}), so it needs a budget")
        return names.get(request.name)

    def _at_rung(self, rung: Rung, test_size: int | None) -> _Sized:
        """The network itself, a published size, or by coefficients as many steps away as the ladder has it."""
        start, phi, late = self.start, rung.phi - self.start.rung.phi, rung.late_growth
        if rung == start.rung:
            sized = self._itself()
        elif self.coefficients is None:
            is_between = rung.name in start.ladder.knots
            sized = _Sized(*start.at_rung(rung, self.max_size), phi if is_between else None, late is not None)
        else:
            sized = self._at(phi, late, None)
        if test_size in (None, sized.computed_test_size):
            return sized
        resolution = train_size_for(test_size, start.ladder.train_share)
        return replace(
            sized, architecture=replace(sized.architecture, resolution=resolution), computed_test_size=test_size
        )

    def _largest(self, budget: Budget) -> _Sized | None:
        """Of what keeps a budget the most MACs: the farthest scaled network, the network itself, published sizes."""
        found = [self._farthest(budget)]
        if budget.test_size in (None, self._itself().computed_test_size):
            found.append(self._itself())
        if budget.test_size is None and self.coefficients is None:
            found += map(self._published, self.start.ladder.knots)
        keeping = [each for each in found if each and self._excess(each.architecture, budget) is None]
        return max(keeping, key=lambda each: self.costs(each.architecture).macs, default=None)

    def _published(self, name: str) -> _Sized | None:
        """The network of a size of the ladder; None where a stage would be too narrow."""
        try:
            return self._at_rung(self.start.ladder.rung(name), None)
        except ValueError:
            return None

    def _farthest(self, budget: Budget) -> _Sized | None:
        """The scaled network farthest up that keeps a budget; one whose late stages grow, where any such does."""
        border = bisect_right(_PHIS, self._late_border)
        above, below = _PHIS[border:], _PHIS[:border]
        for growth, phis in ((LateGrowth(), above), (None, above), (None, below)):
            # Costs rise with φ, and what is too small to be built is not over any budget.
            first_over = bisect_left(phis, True, key=partial(self._is_over, growth=growth, budget=budget))
            sized = self._possible(phis[first_over - 1], growth, budget.test_size) if first_over else None
            if sized is not None:
                return sized
        return None

    def _is_over(self, phi: float, growth: LateGrowth | None, budget: Budget) -> bool:
        sized = self._possible(phi, growth, budget.test_size)
        return sized is not None and self._excess(sized.architecture, budget) is not None

    @property
    def _late_border(self) -> float:
        """φ above which late stages grow."""
        late = self.start.ladder.late_above
        return math.inf if late is None else late - self.start.rung.phi

    def _why_impossible(self, budget: Budget) -> str:
        for phi in _PHIS:
            sized = self._possible(phi, None, budget.test_size)
            if sized is not None:
                return (
                    f"no network of this family keeps it: the smallest has {self._excess(sized.architecture, budget)}"
                )
        return "no network of this family can be built: stages need 8 channels, and sizes the total stride"

    def _possible(self, phi: float, growth: LateGrowth | None, test_size: int | None) -> _Sized | None:
        """None where a stage would be too narrow or the size too small."""
        try:
            return self._at(phi, growth, test_size)
        except ValueError:
            return None

    def _at(self, phi: float, late_growth: LateGrowth | None, test_size: int | None) -> _Sized:
        architecture, computed = self.start.scaled(
            self._growth(phi), late_growth=late_growth, max_size=self.max_size, test_size=test_size
        )
        return _Sized(architecture, computed, phi, late_growth is not None)

    def _itself(self) -> _Sized:
        start = self.start
        return _Sized(start.network, start.test_size, 0.0, start.rung.late_growth is not None)

    def _require_own_size_within_cap(self) -> None:
        size = self.start.network.resolution
        if self.max_size is not None and size > self.max_size:
            raise ValueError(
                f"the network trains at {size} pixels, which must be at most the cap of {self.max_size} on inference "
                f"sizes; --no-cap lifts it, --ladder efficientnet has none"
            )

    def _growth(self, phi: float) -> Multipliers:
        if self.coefficients is not None:
            return compounded(self.coefficients)(phi)
        return along(self.start.ladder, self.start.rung.phi)(phi)

    def _excess(self, architecture: Architecture, budget: Budget) -> str | None:
        """The first cost that is over its budget, in words."""
        costs = self.costs(architecture)
        if budget.params is not None and costs.params > budget.params:
            return f"{costs.params:,} parameters, the budget is {budget.params:,.0f}"
        if budget.macs is not None and costs.macs > budget.macs:
            return f"{costs.macs:,} MACs, the budget is {budget.macs:,.0f}"
        if budget.memory is not None and costs.peak_memory_bytes > budget.memory:
            held, most = costs.peak_memory_bytes / 2**30, budget.memory / 2**30
            return f"{held:.3g} GiB in a training step, the budget is {most:.3g} GiB"
        if budget.step_time is not None:
            usual = self._of_rung(USUAL_RUNG[self.start.ladder.name])
            ratio = _seconds(costs) / _seconds(self.costs(usual))
            if ratio > budget.step_time:
                return f"{ratio:.3g} × the step time, the budget is {budget.step_time:g} ×"
        return None

    def _member(self, name: str, sized: _Sized) -> Member:
        architecture = sized.architecture
        costs, reference = self.costs(architecture), self._of_rung(_SIZE_OF_S[self.start.ladder.name])
        predicted = None
        if costs.step_time_s is not None:
            predicted = StepTimeFigure(seconds=costs.step_time_s, relative_error=costs.step_time_rse)
        return Member(
            name=name,
            architecture=str(architecture),
            test_size=cap_resolution(sized.computed_test_size, self.max_size),
            computed_test_size=sized.computed_test_size,
            phi=sized.phi,
            late_growth=sized.late_growth,
            params=costs.params,
            macs=costs.macs,
            peak_memory_bytes=costs.peak_memory_bytes,
            predicted=predicted,
            regularization=regularization_for(
                count_params(architecture, num_classes=0) / count_params(reference, num_classes=0),
                train_size=architecture.resolution,
                smallest_train_size=reference.resolution,
                total_stride=architecture.total_stride,
            ),
        )

    def _of_rung(self, name: str) -> Architecture:
        """The family's own network of a size."""
        rung = self.start.ladder.rung(name)
        return self.start.network if rung == self.start.rung else self.start.at_rung(rung, self.max_size)[0]


def _seconds(costs: Costs) -> float:
    if costs.step_time_s is None:
        raise StepTimesUnknownError("a budget of step time needs a step-time table")
    return costs.step_time_s
