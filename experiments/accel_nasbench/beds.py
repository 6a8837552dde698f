"""The beds by name."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from proxies.costs import CostModel
from proxies.workload import Workload
from search_spaces.messages import did_you_mean

from .bed import Bed, cost_factors, reference_reward
from .cache import cache_folder, kept, key_of
from .local_search import find_optimum
from .row_beds import make_row_bed
from .rows import Rows, find_data, mnasnet_space, read_rows
from .stage_times import StageTimes
from .surrogates import Predict, Surrogates, load_surrogates

_TITLES = {
    "trees": "accuracy by trees",
    "network": "accuracy by networks",
    "trees-rtx3090": "accuracy by trees, S of inference on an RTX 3090",
    "network-rtx3090": "accuracy by networks, S of inference on an RTX 3090",
    "rows": "the trained architectures alone",
}
BED_NAMES = tuple(_TITLES)


class Benchmark:
    """The rows and their surrogates, from which beds are made."""

    def __init__(self, data: Path | None = None, cache: Path | None = None) -> None:
        """Read the rows; fit the surrogates, which takes about half a minute, unless they are in the cache.

        Args:
            data: The benchmark's file or its folder; by default in the folder that NAS_DATA_DIR names.
            cache: Folder where what was fitted is kept; the user's cache by default.

        Raises:
            ValueError: In one line, if the file is not there or is no such file.
        """
        self.rows: Rows = read_rows(find_data(data))
        self._cache = cache or cache_folder()
        self.surrogates: Surrogates = load_surrogates(self.rows, self._cache)

    def bed(self, name: str) -> Bed:
        """A bed by its name; its best member is searched for, for up to a minute, unless it is in the cache.

        Raises:
            ValueError: If there is no such bed.
        """
        if name not in _TITLES:
            raise ValueError(f"no bed {name!r}; {did_you_mean(name, BED_NAMES)}")
        if name == "rows":
            return self._row_bed()
        accuracy, _, times = name.partition("-")
        predict = self.surrogates.trees if accuracy == "trees" else self.surrogates.networks
        return self._surrogate_bed(name, predict, self.surrogates.rtx3090 if times else self.surrogates.train_time)

    def resolution(self) -> Mapping[str, float]:
        """How far below R* the other bed's best member is, by bed: gaps below that depend on the surrogate."""
        trees, network = self.bed("trees"), self.bed("network")
        return {
            bed.name: bed.gap(float(bed.rewards(np.array([other.best]))[0]))
            for bed, other in ((trees, network), (network, trees))
        }

    def _surrogate_bed(self, name: str, accuracy: Predict, times: StageTimes) -> Bed:
        space = mnasnet_space()
        costs = CostModel(workload=Workload(), device_kind="cpu", step_times=times).over(space)
        reward = reference_reward(space, costs)
        num_values = [len(values) for values in space.choices.values()]

        def search() -> dict[str, np.ndarray]:
            found = find_optimum(lambda members: accuracy(members) * cost_factors(reward, costs(members)), num_values)
            return {
                "value": np.array(found.value), "places": np.array(found.places),
                "hits": np.array(found.hits), "restarts": np.array(found.restarts),
            }  # fmt: skip

        found = kept(self._cache / f"optimum-{name}-{key_of(self.rows.digest)}.npz", search)
        return Bed(
            name=name,
            title=_TITLES[name],
            space=space,
            accuracy=accuracy,
            costs=costs,
            reward=reward,
            optimum=float(found["value"]),
            best=tuple(map(int, found["places"])),
        )

    def _row_bed(self) -> Bed:
        space = mnasnet_space()
        model = CostModel(workload=Workload(), device_kind="cpu", step_times=self.surrogates.train_time)
        return make_row_bed(
            "rows",
            _TITLES["rows"],
            space,
            rows=self.rows.encoded,
            accuracy=self.rows.accuracy,
            step_time_s=self.rows.train_time_s,
            costs=model.over(space),
        )
