"""A sampler on a bed where only some members can be trained."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from nas.samplers.known_space import KnownSpaceSampler
from search_spaces.space import SearchSpace

from .final_choice import Places

Repair = Callable[[np.ndarray], Places | None]
"""The member that is trained in place of a proposed one, (number of choices,)."""


class RepairedSampler(KnownSpaceSampler):
    """Lets another sampler propose, and puts the nearest member that can be trained in its proposal's place.

    What it learns from is what was trained, with whatever it has written into the trial itself.
    """

    def __init__(
        self, sampler: BaseSampler, space: SearchSpace, known: Mapping[str, BaseDistribution], repair: Repair
    ) -> None:
        super().__init__(sampler, known)
        self._search_space, self._known, self._repair = space, dict(known), repair

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        theirs = self._sampler.infer_relative_search_space(study, trial)
        params = self._sampler.sample_relative(study, trial, theirs)
        for name, distribution in self._known.items():
            if name not in params:
                params[name] = self._sampler.sample_independent(study, trial, name, distribution)
        proposed = np.array(self._search_space.encode(self._search_space.from_params(params)))
        places = self._repair(proposed)
        if places is None:
            raise RuntimeError("nothing is left to be trained")
        return dict(self._search_space.to_params(self._search_space.decode(places)))
