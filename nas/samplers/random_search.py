"""Random search: the yardstick of every other sampler."""

from collections.abc import Iterable

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial

from .history import Places
from .member_sampler import MemberSampler


class RandomSearchSampler(MemberSampler):
    """Draws each choice uniformly and independently, again where the member is known."""

    def proposals(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Iterable[Places]:
        return ()
