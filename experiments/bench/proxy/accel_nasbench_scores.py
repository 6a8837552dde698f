"""Zero-cost scores beside Accel-NASBench's accuracies."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.accel_nasbench.rows import find_data, mnasnet_space, read_rows
from proxies.device import Device
from proxies.zero_cost import Probe

from .scored import Candidate, ScoreTable, score_all, table_of

NUM_CLASSES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSetting:
    """What architectures are scored with."""

    resolution: int = 64
    num_images: int = 32
    seed: int = 0
    """Of noise, labels and initial weights."""

    def __str__(self) -> str:
        return f"{self.num_images} noise images of {self.resolution} px, seed {self.seed}"

    def probe(self, device: Device) -> Probe:
        """ImageNet, on which the accuracies were reached, is not at hand: noise with random labels."""
        return Probe.of_noise(
            num_images=self.num_images,
            resolution=self.resolution,
            num_classes=NUM_CLASSES,
            seed=self.seed,
            device=device,
        )


def drawn_candidates(data: Path | None, count: int) -> Sequence[Candidate]:
    """Rows of the benchmark drawn at random, always the same; fewer are the beginning of more.

    Raises:
        ValueError: In one line, if the benchmark's file is not there or is no such file.
    """
    rows, space = read_rows(find_data(data)), mnasnet_space()
    drawn = np.random.default_rng(0).permutation(len(rows.encoded))[:count]
    return [
        Candidate(
            name="".join(map(str, rows.encoded[row])),
            architecture=space.decode(tuple(rows.encoded[row].tolist())),
            accuracy=float(rows.accuracy[row]),
        )
        for row in drawn
    ]


def score_rows(candidates: Iterable[Candidate], setting: ScoreSetting, path: Path, device: Device) -> ScoreTable:
    """Scores of rows, those in the file not computed again."""
    return table_of(list(score_all(candidates, setting.probe(device), path, setting=str(setting))))
