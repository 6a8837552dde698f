"""Which architecture a search hands over in the end: the best of many noisy trainings is partly the luckiest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import optuna

from nas.samplers.belief import Belief
from nas.samplers.history import Places, read_verdicts
from nas.samplers.knowledge import Knowledge
from nas.samplers.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What is known when a search ends."""

    problem: Problem
    study: optuna.Study
    rewards: Mapping[Places, float]
    """As observed, of every member that was trained."""
    retrain: Callable[[Places, int], float]
    """The reward that a further training (1, 2 …) of a trained member shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalChoice:
    """A rule, and what it costs."""

    retrainings: int
    """That it spends; they are taken from the search's budget."""
    choose: Callable[[Ending], Places]


def best_observed(ending: Ending) -> Places:
    """The member whose only training went best."""
    return max(ending.rewards, key=lambda places: ending.rewards[places])


def best_of_retrained(count: int) -> Callable[[Ending], Places]:
    """Train the leaders once more each; the best mean wins."""

    def choose(ending: Ending) -> Places:
        leaders = sorted(ending.rewards, key=lambda places: ending.rewards[places], reverse=True)[:count]
        means = [np.mean([ending.rewards[places], ending.retrain(places, 1)]) for places in leaders]
        return leaders[int(np.argmax(means))]

    return choose


def best_believed(ending: Ending) -> Places:
    """The member with the best reward by the known-cost sampler's model, which learns from all trainings at once."""
    return _by_belief(ending)[0]


def best_of_finalists(ending: Ending) -> Places:
    """As a search of ours does by default: three leaders by the model, each trained twice more; the best mean wins."""
    leaders = _by_belief(ending)[:3]
    means = [np.mean([ending.rewards[p], ending.retrain(p, 1), ending.retrain(p, 2)]) for p in leaders]
    return leaders[int(np.argmax(means))]


def _by_belief(ending: Ending) -> list[Places]:
    """The trained members, the best first."""
    knowledge = Knowledge(ending.problem)
    belief = Belief(knowledge, read_verdicts(ending.study, knowledge.members))
    order = np.argsort(-belief.log_rewards(belief.trained)[0], kind="stable")
    return [tuple(places) for places in belief.trained[order].tolist()]


FINAL_CHOICES: Mapping[str, FinalChoice] = {
    "best-observed": FinalChoice(retrainings=0, choose=best_observed),
    "best-believed": FinalChoice(retrainings=0, choose=best_believed),
    "finalists": FinalChoice(retrainings=6, choose=best_of_finalists),
    "retrain-4": FinalChoice(retrainings=4, choose=best_of_retrained(4)),
}
