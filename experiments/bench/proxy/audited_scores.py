"""Zero-cost scores beside the accuracies that an audit has found, on the audit's own images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nas.audit.results import AuditResults
from nas.audit.run import search_of
from nas.audit.yardstick import yardstick_of
from nas.config import SearchConfig
from proxies.data.batches import make_batches, normalisation_of
from proxies.device import Device
from proxies.proxy_data import GIB, load_splits
from proxies.zero_cost import Probe
from search_spaces.architecture import parse

from .scored import Candidate, ScoreTable, score_all, table_of


def audited_candidates(results: AuditResults) -> Sequence[Candidate]:
    """Architectures with at least one training at the target, and the mean of these."""
    accuracy = yardstick_of(results).accuracy
    return [
        Candidate(name=each.architecture, architecture=parse(each.architecture), accuracy=float(reached))
        for each, reached in zip(results.architectures, accuracy, strict=True)
        if np.isfinite(reached)
    ]


def image_probe(search: SearchConfig, *, resolution: int, num_images: int, seed: int, device: Device) -> Probe:
    """Training images of a search, drawn at random."""
    splits = load_splits(search.data)
    drawn = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(seed))[:num_images]
    batches = make_batches(
        splits.train.subset(drawn),
        normalisation=normalisation_of(splits.train),
        augment=False,
        mirror=False,
        device=device,
        memory_limit_bytes=GIB,
        num_workers=0,
    )
    images, labels = next(batches.in_order(batch_size=num_images, resolution=resolution))
    return Probe(images=images, labels=labels, num_classes=splits.num_classes, seed=seed, device=device)


def score_audit(results: AuditResults, path: Path, *, num_images: int, seed: int, device: Device) -> ScoreTable:
    """Scores of an audit's architectures at the size of its target training."""
    candidates = audited_candidates(results)
    resolution = results.config.target.resolution or candidates[0].architecture.resolution
    search = search_of(results.config)
    probe = image_probe(search, resolution=resolution, num_images=num_images, seed=seed, device=device)
    setting = f"{num_images} images of {search.data.source} at {resolution} px, seed {seed}"
    return table_of(list(score_all(candidates, probe, path, setting=setting)))
