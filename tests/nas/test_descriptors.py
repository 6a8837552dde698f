"""What the model sees of members, and the moves between members."""

import itertools
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from nas.samplers.descriptors import Descriptor, _codes
from nas.samplers.history import Members
from nas.samplers.neighbourhood import Neighbourhood, distinct, keys
from proxies.costs import CostModel, MacsStepTimes
from proxies.execution import parse_mode
from proxies.workload import Workload
from search_spaces.named_spaces import get_space
from search_spaces.space import SearchSpace
from search_spaces.space_file import space_from_mapping

WORK = Workload(mode=parse_mode("float32-channels_last"), num_classes=10)


def small(*stages: dict[str, Any]) -> SearchSpace:
    fixed = {"out_channels": 8, "stride": 2, "block": "ir", "num_repeats": 1, "kernel_size": 3, "expand_ratio": 4}
    spread = {"resolution": 32, "stem_channels": 8, "head_channels": 32}
    return space_from_mapping({**spread, "stages": [fixed | stage for stage in stages]})


SMALL = small(
    {"num_repeats": [1, 2, 4, 7], "kernel_size": [3, 5], "block": ["ir", "er"]},
    {"expand_ratio": [1, 4, 6], "se_ratio": [0.0, 0.25, 0.5]},
)
FUSED = small({"block": ["ir", "er"], "se_ratio": [0.0, 0.25, 0.5], "num_repeats": [1, 2]}, {"block": "er"})
UNSORTED = small({"kernel_size": [5, 3, 7], "num_repeats": [3, 1, 2]}, {})
FIXED = small({}, {})
SPACES = {
    "efficientnetv2": get_space("efficientnetv2", scale="b0"),
    "mnasnet": get_space("mnasnet"),
    "small": SMALL,
    "fused": FUSED,
    "unsorted": UNSORTED,
}


@cache
def describer(space: SearchSpace, *, with_step_times: bool = True) -> Descriptor:
    times = MacsStepTimes(WORK, space.backbone, backbone_s=0.1) if with_step_times else None
    return Descriptor(space, CostModel(workload=WORK, device_kind="cpu", step_times=times).over(space))


def every_member(space: SearchSpace) -> np.ndarray:
    """Each architecture once, in its one writing."""
    sizes = Members(space).sizes
    listed = list(itertools.product(*map(range, sizes)))
    rows = np.array(listed, dtype=np.int64).reshape(len(listed), len(sizes))
    return distinct(Members(space).canonical_rows(rows))


class TestDescriptor:
    @pytest.mark.parametrize("name", SPACES)
    def test_bits_count_the_steps_between_members(self, name: str) -> None:
        """From value to value of what has an order; all others are equally far from each other."""
        space, rng = SPACES[name], random.Random(0)
        for _ in range(40):
            one, other = (space.to_params(space.sample(rng)) for _ in range(2))
            rows = np.array([[values.index(p[k]) for k, values in space.choices.items()] for p in (one, other)])
            steps = 0
            for choice, values in space.choices.items():
                ordered = sorted(values) if not isinstance(values[0], str) else list(values)
                steps += abs(ordered.index(one[choice]) - ordered.index(other[choice]))
            bits = describer(space)(rows).bits
            assert set(bits.ravel()) <= {0.0, 1.0}
            assert np.abs(bits[0] - bits[1]).sum() == steps

    def test_a_choice_among_names_has_a_bit_for_each(self) -> None:
        """No block has a third kind yet."""
        bits = _codes(("a", "b", "c"))
        distances = np.abs(bits[:, None] - bits[None]).sum(axis=-1)
        assert distances[~np.eye(3, dtype=bool)].tolist() == [distances[0, 1]] * 6
        assert distances[0, 1] > 0

    @pytest.mark.parametrize("name", SPACES)
    @pytest.mark.parametrize("with_step_times", [True, False])
    def test_features_are_standardised_over_the_space(self, name: str, with_step_times: bool) -> None:
        print("seed 0")
        space = SPACES[name]
        rows = Neighbourhood(Members(space)).random(4000, np.random.default_rng(0))
        features = describer(space, with_step_times=with_step_times)(rows).features
        varying = features.std(axis=0) > 1e-3
        np.testing.assert_allclose(features.mean(axis=0), 0, atol=0.35)
        np.testing.assert_allclose(features[:, varying].std(axis=0), 1, atol=0.35)
        assert varying.sum() >= 3
        assert np.abs(features[:, ~varying]).max(initial=0) < 0.01

    @pytest.mark.parametrize("space", [FIXED, FUSED, small({"kernel_size": [3, 5]})], ids=["fixed", "fused", "one"])
    def test_what_does_not_vary_tells_nothing(self, space: SearchSpace) -> None:
        points = describer(space)(every_member(space))
        assert np.isfinite(points.features).all()
        assert np.abs(points.features).max() < 10
        assert len(points) == space.size

    def test_points_know_their_run(self) -> None:
        assert describer(SMALL)(every_member(SMALL)[:3], 2).runs.tolist() == [2, 2, 2]


def pairwise_score(space: SearchSpace, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Each choice adds something of its own, and each pair of choices a little more."""
    sizes = Members(space).sizes
    alone = [rng.normal(size=size) for size in sizes]
    pairs = {
        (i, j): 0.4 * rng.normal(size=(sizes[i], sizes[j])) for i, j in itertools.combinations(range(len(sizes)), 2)
    }

    def score(rows: np.ndarray) -> np.ndarray:
        own = sum(values[rows[:, i]] for i, values in enumerate(alone))
        return np.asarray(own + sum(values[rows[:, i], rows[:, j]] for (i, j), values in pairs.items()))

    return score


LARGER = small(
    *[{"num_repeats": [1, 2, 3], "kernel_size": [3, 5], "expand_ratio": [1, 4, 6], "se_ratio": [0.0, 0.25]}] * 2,
    {"block": ["ir", "er"], "expand_ratio": [1, 4, 6], "se_ratio": [0.0, 0.25]},
)


class TestNeighbourhood:
    @pytest.mark.parametrize("space", [SMALL, FUSED], ids=["small", "fused"])
    def test_exchanges_are_all_that_differ_in_one_choice(self, space: SearchSpace) -> None:
        members, everyone = Members(space), every_member(space)
        for row in everyone[::5]:
            written = [[*row[:i], v, *row[i + 1 :]] for i, size in enumerate(members.sizes) for v in range(size)]
            wanted = {members.canonical(list(map(int, each))) for each in written}
            found = set(map(tuple, Neighbourhood(members).exchanges(row[None]).tolist()))
            assert found - {tuple(row)} == wanted - {tuple(row)}

    @pytest.mark.parametrize("seed", range(4))
    def test_a_climb_finds_the_best_of_all(self, seed: int) -> None:
        print(f"seed {seed}")
        rng = np.random.default_rng(seed)
        score, everyone, moves = pairwise_score(LARGER, rng), every_member(LARGER), Neighbourhood(Members(LARGER))
        assert len(everyone) == LARGER.size > 10_000
        found = moves.climb(moves.random(300, rng), score, rng)
        assert score(found[:1])[0] == score(everyone).max()
        assert (np.diff(score(found)) <= 0).all()

    @pytest.mark.parametrize("seed", range(2))
    def test_a_climb_passes_over_what_is_known(self, seed: int) -> None:
        """Though the best and all around it are."""
        print(f"seed {seed}")
        rng = np.random.default_rng(seed)
        score, everyone, moves = pairwise_score(LARGER, rng), every_member(LARGER), Neighbourhood(Members(LARGER))
        ranked = everyone[np.argsort(-score(everyone))]
        best, second = ranked[:300], ranked[300]
        found = moves.climb(moves.random(300, rng), score, rng, known=keys(best))
        assert not set(keys(found)) & set(keys(best))
        assert score(found[:1])[0] <= score(second[None])[0]
        assert score(found[:1])[0] >= np.quantile(score(everyone), 0.95)

    def test_a_climb_returns_each_architecture_once_in_its_one_writing(self) -> None:
        print("seed 0")
        rng = np.random.default_rng(0)
        moves = Neighbourhood(Members(FUSED))
        found = moves.climb(moves.random(50, rng), lambda rows: rows.sum(axis=1).astype(float), rng)
        architectures = [str(FUSED.decode(row)) for row in found.tolist()]
        assert len(set(architectures)) == len(architectures) == FUSED.size
        assert [FUSED.encode(FUSED.decode(row)) for row in found.tolist()] == [tuple(row) for row in found.tolist()]

    def test_from_known_members_alone_there_is_no_climb(self) -> None:
        rng = np.random.default_rng(0)
        moves, everyone = Neighbourhood(Members(FUSED)), every_member(FUSED)
        assert len(moves.climb(everyone, lambda rows: np.zeros(len(rows)), rng, known=keys(everyone))) == 0

    @pytest.mark.parametrize("space", [SMALL, FUSED, FIXED], ids=["small", "fused", "fixed"])
    def test_moves_stay_in_the_space(self, space: SearchSpace) -> None:
        print("seed 1")
        rng, members = np.random.default_rng(1), Members(space)
        moves = Neighbourhood(members)
        rows = moves.random(100, rng)
        for found in (rows, moves.exchanges(rows), moves.double_exchanges(rows, rng), moves.random_step(rows, rng)):
            assert (found >= 0).all()
            assert (found < members.sizes).all()
            assert (members.canonical_rows(found) == found).all()
        after = moves.random_step(rows, rng)
        assert len(after) == len(rows)
        # A block that changes may take its SE ratio along.
        assert ((after != rows).sum(axis=1) <= 4).all()

    def test_distinct_keeps_the_first_of_each(self) -> None:
        rows = np.array([[1, 2], [0, 0], [1, 2], [3, 1], [0, 0]])
        assert distinct(rows).tolist() == [[1, 2], [0, 0], [3, 1]]
        assert distinct(rows, keys(np.array([[0, 0]]))).tolist() == [[1, 2], [3, 1]]
        assert distinct(rows[:0]).shape == (0, 2)
