"""Numbers of members by boosted trees."""

from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded

_SETTINGS: dict[str, Any] = {
    "num_iterations": 4_000,
    "learning_rate": 0.02,
    "num_leaves": 8,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "seed": 0,
    "deterministic": True,
    "num_threads": 1,
    "verbose": -1,
}
"""Chosen by cross-validation among the training rows."""


class Trees:
    """Predicts a number of each member, in about 0.3 ms a member."""

    def __init__(self, text: str) -> None:
        """
        Args:
            text: LightGBM's own model file.
        """
        self.text = text

    @cached_property
    def _booster(self) -> Any:
        # Made when it is needed: importing LightGBM takes a second.
        return _lightgbm().Booster(model_str=self.text)

    def __call__(self, encoded: Encoded) -> NDArray[np.float64]:
        return np.asarray(self._booster.predict(encoded, num_threads=1))


def fit_trees(encoded: Encoded, target: NDArray[np.float64]) -> Trees:
    """Fit boosted trees to one number of each member, (N,)."""
    lightgbm = _lightgbm()
    # The places are ordered as the values are, so trees take them as numbers.
    return Trees(lightgbm.train(_SETTINGS, lightgbm.Dataset(encoded, target)).model_to_string())


def _lightgbm() -> ModuleType:
    try:
        import lightgbm
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the benchmark's trees need LightGBM: pip install 'training-aware-nas[bench]' ({error})"
        ) from None
    return lightgbm
