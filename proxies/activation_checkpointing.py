"""Activation checkpointing: a network's blocks keep only their inputs, and are computed again on the way back.

A step takes a third to a half longer and less memory: large networks train on large batches. What it computes stays
the same: chance falls alike both times, and batch normalisation's running averages move once. (With timm's
``set_grad_checkpointing`` they move twice, by the same statistics: as if their momentum were nearly twice as large.)

Autocast, parts of a batch, several processes and ``torch.compile`` work as without it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpoint_activations(network: nn.Module) -> None:
    """Let every block of a network be computed again on the way back, instead of keeping its activations.

    Stem and head, which come before and after the blocks, keep theirs. Names of weights and statistics do not change.

    Args:
        network: As :func:`search_spaces.network.build` makes it; changed in place. A second time changes nothing more.

    Raises:
        ValueError: If the network is not made of stages of blocks.
    """
    stages = getattr(network, "blocks", None)
    if not isinstance(stages, nn.Sequential) or not all(isinstance(stage, nn.Sequential) for stage in stages):
        raise ValueError(f"only networks of stages of blocks checkpoint activations, got {type(network).__name__}")
    for name, stage in list(stages.named_children()):
        setattr(stages, name, _RecomputedStage(*stage.children()))


class _RecomputedStage(nn.Sequential):
    """Blocks in a row, each of which keeps its input only."""

    def forward(self, input: Tensor) -> Tensor:
        for block in self:
            input = _recomputed(block, input) if torch.is_grad_enabled() else block(input)
        return input


def _recomputed(block: nn.Module, images: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        # The compiler takes no such contexts; changes in place it takes out, and makes once.
        return checkpoint(block, images, use_reentrant=False)
    return checkpoint(block, images, use_reentrant=False, context_fn=partial(_first_and_second_time, block))


def _first_and_second_time(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _running_averages_stay(block)


@contextmanager
def _running_averages_stay(block: nn.Module) -> Iterator[None]:
    """Batch normalisation goes on as in training, but its running averages and their counts stay.

    Not by ``track_running_stats``: autograd would save other tensors than the first time, and refuse.
    """
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # A count to be thrown away rather than none: synchronised batch normalisation insists on one.
        norm.momentum, norm.num_batches_tracked = 0.0, torch.tensor(0)
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
