"""An audit with made-up trainings whose noise is known, finished or not."""

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.audit.config import AuditConfig, ProxyTraining
from nas.audit.results import AuditedArchitecture, AuditResults, Cell, planned_cells
from nas.config import SearchConfig
from nas.evaluation_tasks import AccuracyRecord
from proxies.complexity import count_macs, count_params
from proxies.costs import Costs

SPACE = {"name": "efficientnetv2", "scale": [1.0, 0.5], "resolution": 32}
NUM_IMAGES = 100_000
"""So many that accuracies are hardly ever equal."""
SPREAD = 0.03
"""Standard deviation of the architectures' true accuracies."""
TARGET = ProxyTraining(epochs=8)
SHORT = ProxyTraining(epochs=2)
HALF = ProxyTraining(epochs=4, data_share=0.5, lr=0.01)
NARROW = ProxyTraining(epochs=4, width=0.5)


def config(out: Path = Path("runs/audit"), **changes: Any) -> AuditConfig:
    """A small audit; `changes` are keys of the configuration."""
    search = SearchConfig.model_validate({"space": SPACE, "data": {"source": "digits"}})
    values = {"search": search, "target": TARGET, "proxies": (SHORT, HALF, NARROW), "out": out}
    return AuditConfig(**{**values, **changes})


def audit(
    config: AuditConfig, *, noise: Mapping[str, float] | float = 0.01, seed: int = 0, images: int = NUM_IMAGES
) -> AuditResults:
    """A finished audit.

    Args:
        config: Of the audit.
        noise: Standard deviation from seed to seed of each training by its key, or of all.
        seed: Of everything.
        images: That judge.
    """
    rng = np.random.default_rng(seed)
    space = config.search.search_space()
    draws = random.Random(seed)
    members = [space.sample(draws) for _ in range(config.num_architectures)]
    true = 0.8 + SPREAD * rng.standard_normal(len(members))
    trainings = {training.key: training for training in (config.target, *config.audited)}
    records = {}
    for place, cell in enumerate(planned_cells(config, len(members))):
        error = noise if isinstance(noise, float) else noise.get(cell.training, 0.01)
        records[cell] = record(trainings[cell.training], true[cell.number], error, rng, seed=place, images=images)
    return AuditResults(
        config=config,
        architectures=tuple(
            AuditedArchitecture(
                architecture=str(member),
                costs=Costs(
                    step_time_s=0.01 * (1 + place),
                    step_time_rse=0.02,
                    params=count_params(member, 10, 1),
                    macs=count_macs(member, in_channels=1, num_classes=10),
                    peak_memory_bytes=2**20,
                ),
                reward_factor=float(np.exp(0.02 * rng.standard_normal())),
            )
            for place, member in enumerate(members)
        ),
        trainings=records,
        failed={},
        device="cpu Some Processor",
    )


def record(
    training: ProxyTraining, true: float, error: float, rng: np.random.Generator, *, seed: int, images: int
) -> AccuracyRecord:
    """A training that rises to its accuracy; on its way it is less and less wrong."""
    final = float(np.clip(true + error * rng.standard_normal(), 0, 1))
    left = 1 - np.arange(1, training.epochs + 1) / training.epochs
    curve = np.clip(final - 0.3 * left + 0.05 * left * rng.standard_normal(training.epochs), 0, 1)
    seconds = 10 * training.epochs * training.data_share * training.width * float(rng.uniform(0.9, 1.1))
    correct = round(final * images)
    return AccuracyRecord(
        num_correct=correct,
        num_images=images,
        seed=seed,
        train_seconds=seconds,
        curve=(*map(float, curve[:-1]), correct / images),
    )


def without(results: AuditResults, *cells: Cell, because: str | None = None) -> AuditResults:
    """The same audit before these trainings were done, or where they failed."""
    kept = {cell: record for cell, record in results.trainings.items() if cell not in cells}
    return replace(results, trainings=kept, failed=dict.fromkeys(cells, because) if because else results.failed)
