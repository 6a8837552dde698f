"""Accuracy and seconds of architectures that nobody trained: fitted on most rows, judged on the others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded

from .cache import Arrays, cache_folder, kept, key_of
from .networks import Networks, fit_networks
from .rows import Rows, mnasnet_space
from .stage_times import StageTimes, fit_stage_times
from .trees import Trees, fit_trees

NUM_HELD_OUT = 538
_SPLIT_SEED = 0
OUTLIER_S = 8_000.0
"""A training that took longer says nothing about its architecture."""

Predict = Callable[[Encoded], NDArray[np.float64]]
"""Members as rows of choices (N, number of choices) → one number each, (N,)."""


@dataclass(frozen=True, kw_only=True)
class Surrogates:
    """Functions over the whole space, and how well they rank the rows they were not fitted on."""

    trees: Predict
    """Accuracy, a fraction."""
    networks: Predict
    """Accuracy, a fraction; smoother than the trees', and nearer to the rows."""
    train_time: StageTimes
    rtx3090: StageTimes
    """Seconds of inference for an image."""
    tau: Mapping[str, float]
    """Kendall's τ on held-out rows."""
    rmse: Mapping[str, float]
    """Of the accuracies, on held-out rows, as fractions."""


def load_surrogates(rows: Rows, folder: Path | None = None) -> Surrogates:
    """The surrogates of these rows, fitted once and then read from a folder.

    Args:
        rows: What they are fitted on.
        folder: Where fitted ones are kept; the user's cache by default.
    """
    path = (folder or cache_folder()) / f"surrogates-{key_of(rows.digest)}.npz"
    return _read(kept(path, lambda: _fit(rows)))


def split(rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to fit on and rows held out, always the same."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(rows.encoded))
    return order[NUM_HELD_OUT:], order[:NUM_HELD_OUT]


def _fit(rows: Rows) -> Arrays:
    fitted, held_out = split(rows)
    accuracy, encoded = rows.accuracy[fitted], rows.encoded[fitted]
    num_values = [len(values) for values in mnasnet_space().choices.values()]
    trees = fit_trees(encoded, accuracy)
    networks = fit_networks(encoded, accuracy, num_values)
    seconds = {"train_time": rows.train_time_s, "rtx3090": 1 / rows.rtx3090_images_per_s}
    tables, tau = {}, {}
    for name, measured in seconds.items():
        known = fitted[measured[fitted] < OUTLIER_S]  # leaves out what is not a number, too
        tables[name] = fit_stage_times(mnasnet_space(), rows.encoded[known], measured[known])
        # For comparison: what a table of sums is measured against.
        peer = fit_trees(rows.encoded[known], np.log(measured[known]))
        for kind, predict in ((name, tables[name].over(mnasnet_space())), (f"{name}_by_trees", peer)):
            tau[kind] = _tau(predict, rows.encoded[held_out], measured[held_out])
    accuracies: dict[str, Predict] = {"trees": trees, "networks": networks}
    tau |= {name: _tau(each, rows.encoded[held_out], rows.accuracy[held_out]) for name, each in accuracies.items()}
    rmse = {
        name: float(np.sqrt(np.mean((each(rows.encoded[held_out]) - rows.accuracy[held_out]) ** 2)))
        for name, each in accuracies.items()
    }
    return {
        "trees": np.frombuffer(trees.text.encode(), dtype=np.uint8),
        **{f"networks_{name}": weight for name, weight in networks.weights.items()},
        **{f"seconds_{name}": table.entries for name, table in tables.items()},
        **{f"tau_{name}": np.array(value) for name, value in tau.items()},
        **{f"rmse_{name}": np.array(value) for name, value in rmse.items()},
    }


def _read(arrays: Arrays) -> Surrogates:
    space = mnasnet_space()
    num_values = [len(values) for values in space.choices.values()]
    return Surrogates(
        trees=Trees(arrays["trees"].tobytes().decode()),
        networks=Networks(_named(arrays, "networks_"), num_values),
        train_time=StageTimes(space, arrays["seconds_train_time"].astype(np.float64)),
        rtx3090=StageTimes(space, arrays["seconds_rtx3090"].astype(np.float64)),
        tau={name: float(value) for name, value in _named(arrays, "tau_").items()},
        rmse={name: float(value) for name, value in _named(arrays, "rmse_").items()},
    )


def _named(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _tau(predict: Predict, encoded: Encoded, measured: NDArray[np.float64]) -> float:
    from scipy.stats import kendalltau  # half a second to import

    known = np.isfinite(measured)
    return float(kendalltau(predict(encoded[known]), measured[known]).statistic)
