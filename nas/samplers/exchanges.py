"""What is believed to follow when one choice of a member is made otherwise: the model's view, choice by choice."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from proxies.costs import Encoded
from search_spaces.space import Value

from .accuracy_model import AccuracyModel
from .knowledge import Knowledge


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Another value of one choice, and what changes with it; changes are those of natural logarithms."""

    choice: str
    """Name of the space's parameter."""
    before: Value
    after: Value
    accuracy: float
    """Expected change; with that of step time's factor where step times are measured."""
    accuracy_deviation: float
    """Standard deviation of that change."""
    factor: float
    """Of what accuracy is multiplied by in the reward, as far as it is known."""
    step_time: float | None
    """None where step times are measured."""
    params: float


def exchanges(knowledge: Knowledge, model: AccuracyModel, member: Encoded) -> list[Exchange]:
    """Every other value of every choice, in the order of the space; those that change nothing are left out.

    Args:
        knowledge: Of the search.
        model: Of accuracies; what it knows of two members together decides how sure it is of their difference.
        member: Around which exchanges are made, (number of choices,).
    """
    moves = list(_moves(knowledge, member))
    if not moves:
        return []
    others = np.stack([other for _, _, other in moves])
    gains, deviations = model.gains(others, member)
    both = np.concatenate([member[None], others])
    factors, costs = knowledge.log_factor(both), knowledge.problem.costs(both)
    params = np.log(costs.params)
    times = None if costs.step_time_s is None else np.log(costs.step_time_s)
    choices = list(knowledge.problem.space.choices.items())
    return [
        Exchange(
            choice=choices[column][0],
            before=choices[column][1][member[column]],
            after=choices[column][1][place],
            accuracy=float(gains[row]),
            accuracy_deviation=float(deviations[row]),
            factor=float(factors[row + 1] - factors[0]),
            step_time=None if times is None else float(times[row + 1] - times[0]),
            params=float(params[row + 1] - params[0]),
        )
        for row, (column, place, _) in enumerate(moves)
    ]


def _moves(knowledge: Knowledge, member: Encoded) -> Iterator[tuple[int, int, Encoded]]:
    """A choice's column, the place of its other value, and the member that has it."""
    for column, size in enumerate(knowledge.members.sizes):
        for place in range(size):
            other = member.copy()
            other[column] = place
            other = knowledge.members.canonical_rows(other[None])[0]
            if (other != member).any():
                yield column, place, other
