"""Who plays: the product's samplers by their names, and peers that exist for comparison alone."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from optuna.samplers import BaseSampler

from nas.samplers import SAMPLER_NAMES, make_sampler
from nas.samplers.descriptors import Descriptor
from nas.samplers.knowledge import Knowledge
from nas.samplers.known_cost import KnownCostSampler
from nas.samplers.problem import Problem
from proxies.costs import Encoded
from search_spaces.messages import did_you_mean

Player = Callable[[int], BaseSampler]
"""Makes a fresh sampler for each proposal, from the proposal's seed."""


class ChoicesAlone(Descriptor):
    """Describes members by their choices, without cheap features."""

    def _features(self, encoded: Encoded) -> NDArray[np.float64]:
        return np.empty((len(encoded), 0))


def gp_hamming(problem: Problem) -> Player:
    """A Gaussian process that counts differing choices; S and P known, all else as known-cost has it."""
    knowledge = Knowledge(problem, ChoicesAlone(problem.space, problem.costs))
    return lambda seed: KnownCostSampler(knowledge, seed=seed)


PEERS: Mapping[str, Callable[[Problem], Player]] = {"gp-hamming": gp_hamming}
"""Peers by name, each made for one problem."""

REFERENCE = "known-cost"
"""What all others are compared with, where it plays."""


def player_names() -> tuple[str, ...]:
    return (*SAMPLER_NAMES, *PEERS)


def require_player(name: str) -> str:
    """The name itself.

    Raises:
        ValueError: If nobody has this name.
    """
    if name not in player_names():
        raise ValueError(f"unknown sampler {name!r}; {did_you_mean(name, player_names())}")
    return name


def make_player(name: str, problem: Problem) -> Player:
    """Let a sampler or a peer know the problem."""
    return PEERS[name](problem) if name in PEERS else make_sampler(name, problem)
