"""Peak memory of a training step in closed form: microseconds, no network built, nothing launched.

A step holds weights, statistics of batch normalisation, the optimizer's state and the batch all the time. Going
forward, it keeps what the way back needs; going back, it lets go of that block by block while gradients of weights
pile up. The peak is the highest point of the way back: deep blocks have the weights, early ones the large maps.

What a convolution keeps for the way back, in maps of its output: its own result (batch normalisation's input), the
normalised one (the activation's input, copied because the activation works in place) and the activated one (the next
convolution's input); after a projection, which has no activation, the second is missing. A block that is computed again
on the way back keeps its input only, and holds all that while its turn lasts.

Not counted: what the process, its libraries and the device's driver hold before a network is built; cuDNN's working
memory; oneDNN's but for what outweighs small maps; and what lies idle in an allocator between its blocks. On the CPU
the process grows by 10 to 60 % more than PyTorch asks for where freed memory is kept (:mod:`proxies.allocator`), and by
4 % where it is given back. The network is taken as not compiled.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import MBCONV, Architecture
from search_spaces.blocks import HEAD, STEM, PlacedBlock, placed_blocks
from search_spaces.space import SearchSpace
from search_spaces.space_blocks import stage_lookups

from .complexity import convolutions
from .execution import PLAIN, ExecutionMode
from .micro_batches import largest_part
from .training.config import OptimizerName
from .workload import Workload

_FLOAT32 = 4
OPTIMIZERS = {"adamw": (2, 0), "sgd": (1, 0), "nadamw": (2, 3), "rmsproptf": (2, 3), "lamb": (2, 3), "lion": (1, 1)}
"""Numbers an optimizer keeps for every weight, and those it needs besides for one tensor of weights at a time."""
_LABEL = 8
_COUNTER = 8
"""Batch normalisation counts its batches."""
Larger = Callable[[Any, Any], Any]
"""The larger of two numbers, or of each pair in two arrays."""
_TILE = 16 * 16


class _Setting(NamedTuple):
    """One part of a batch, and how its step is executed."""

    num_images: int
    value_size: int
    """Bytes of a number in a map."""
    cast_size: int
    """Bytes of the rounded copy that autocast keeps of a weight; 0 where nothing is rounded."""
    channels_last: bool
    small_maps: bool
    on_cpu: bool
    piles_up: bool
    """Whether gradients of weights pile up on the way back; not where those of earlier parts are there already."""
    recomputes: bool
    """Whether blocks keep only their inputs, see :mod:`proxies.activation_checkpointing`."""


class _Memory(NamedTuple):
    """Bytes of a piece of a network: a layer, a block, the classifier, or pieces in a row.

    Of many networks at a time, each is an array, (N,).
    """

    kept: int
    """From its way forward until its way back."""
    most: int
    """Most that is held on its way back, beside what earlier pieces keep and gradients of later ones."""
    weights: int
    """Its weights; its gradients are as many."""
    largest: int
    """Largest tensor of weights."""
    statistics: int
    """Running mean and variance of batch normalisation."""


_NOTHING = _Memory(kept=0, most=0, weights=0, largest=0, statistics=0)


def predict_peak_memory(
    architecture: Architecture,
    *,
    batch_size: int,
    resolution: int | None = None,
    mode: ExecutionMode = PLAIN,
    num_classes: int = 1000,
    in_channels: int = 3,
    optimizer: OptimizerName = "adamw",
    micro_batches: int = 1,
    activation_checkpointing: bool = False,
    device_kind: str = "cpu",
) -> int:
    """Bytes a settled training step holds at its peak, its network, optimizer and batch included.

    >>> from search_spaces import catalog
    >>> predict_peak_memory(catalog.get("efficientnetv2-s").architecture, batch_size=32) // 2**20
    9070

    Args:
        architecture: What is trained, by :mod:`proxies.training_step`.
        batch_size: Images in a step.
        resolution: Pixels per side; the architecture's own by default.
        mode: How the step is executed, as if not compiled.
        num_classes: Of the classifier.
        in_channels: Of the images.
        optimizer: As in :class:`~proxies.training.config.TrainConfig`.
        micro_batches: Parts the batch is computed in.
        activation_checkpointing: Whether blocks are computed again on the way back.
        device_kind: "cpu", "cuda" or "mps".

    Raises:
        ValueError: If the optimizer is unknown, or parts would be too small.
    """
    work = Workload(
        resolution=resolution or architecture.resolution,
        batch_size=batch_size,
        mode=mode,
        num_classes=num_classes,
        in_channels=in_channels,
        optimizer=_known(optimizer),
        micro_batches=micro_batches,
    )
    setting = _setting(work, device_kind, recomputes=activation_checkpointing)
    blocks = placed_blocks(architecture, work.resolution, in_channels=in_channels)
    pieces = [_block_memory(block, setting) for block in blocks]
    classifier = _classifier_memory(architecture.head_channels, num_classes, setting)
    network = _in_a_row([*pieces, classifier], setting, max)
    return int(_step_memory(network, work, work.resolution_of(architecture), setting, max))


def predict_peak_memories(
    space: SearchSpace, work: Workload, device_kind: str = "cpu"
) -> Callable[[NDArray[np.integer]], NDArray[np.int64]]:
    """As `predict_peak_memory`, of many members at a time: encoded (N, number of choices) → bytes, (N,).

    What goes on within a stage follows from its own choices, so it is computed once for each combination of them;
    stages follow each other as blocks do.
    """
    setting = _setting(work, device_kind)
    fixed = placed_blocks(space.backbone, work.resolution, in_channels=work.in_channels)
    stem, head = _block_memory(fixed[0], setting), _block_memory(fixed[-1], setting)
    classifier = _classifier_memory(space.head_channels, work.num_classes, setting)
    stages = stage_lookups(
        space,
        lambda blocks: _in_a_row([_block_memory(block, setting) for block in blocks], setting, max),
        work.resolution,
        in_channels=work.in_channels,
    )
    resolution = work.resolution_of(space.backbone)

    def predict(encoded: NDArray[np.integer]) -> NDArray[np.int64]:
        pieces = [_Memory(*stage(encoded).astype(np.int64).T) for stage in stages]
        network = _in_a_row([stem, *pieces, head, classifier], setting, np.maximum)
        return np.asarray(_step_memory(network, work, resolution, setting, np.maximum))

    return predict


def _known(optimizer: OptimizerName) -> OptimizerName:
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    return optimizer


def _setting(work: Workload, device_kind: str, *, recomputes: bool = False) -> _Setting:
    is_rounded = work.mode.dtype != "float32"
    return _Setting(
        num_images=largest_part(work.batch_size, work.micro_batches),
        value_size=2 if is_rounded else _FLOAT32,
        cast_size=2 if is_rounded else 0,
        channels_last=work.mode.channels_last,
        small_maps=work.mode.small_maps,
        on_cpu=device_kind == "cpu",
        piles_up=work.micro_batches == 1,
        recomputes=recomputes,
    )


def _step_memory(network: _Memory, work: Workload, resolution: int, setting: _Setting, larger: Larger) -> Any:
    """Most that is held during a whole step, or those of many networks at a time."""
    num_states, num_temporary = OPTIMIZERS[work.optimizer]
    image = work.in_channels * resolution**2
    batch = work.batch_size * (_FLOAT32 * image + _LABEL)
    # The part at hand, laid out and rounded as the mode wants it.
    copies = _FLOAT32 * (work.mode.channels_last and work.in_channels > 1) + setting.cast_size
    # The step itself holds the logits until the way back is done.
    logits = setting.num_images * work.num_classes * setting.value_size
    way_back = setting.num_images * copies * image + network.most + logits
    update = num_temporary * network.largest + setting.piles_up * network.weights
    always = (1 + num_states + (not setting.piles_up)) * network.weights + network.statistics
    return always + batch + larger(way_back, update)


def _in_a_row(memories: Iterable[_Memory], setting: _Setting, larger: Larger) -> _Memory:
    """Of pieces that are gone through forward, and then back; a piece may be a row of pieces itself."""
    memories = tuple(memories)
    kept = before = sum(memory.kept for memory in memories)
    gradients = most = 0
    for memory in reversed(memories):
        before -= memory.kept
        most = larger(most, before + memory.most + gradients)
        gradients += setting.piles_up * memory.weights
    return _Memory(
        kept=kept,
        most=most,
        weights=sum(memory.weights for memory in memories),
        largest=reduce(larger, (memory.largest for memory in memories)),
        statistics=sum(memory.statistics for memory in memories),
    )


@lru_cache(maxsize=65_536)
def _block_memory(block: PlacedBlock, setting: _Setting) -> _Memory:
    memory = _in_a_row(_layer_memories(block, setting), setting, max)
    if not setting.recomputes or block.kind in (STEM, HEAD):
        return memory
    # On its way back it holds what it would have held; until then, its result: the next block's input.
    return memory._replace(kept=setting.num_images * setting.value_size * block.out_channels * block.out_size**2)


def _layer_memories(block: PlacedBlock, setting: _Setting) -> Iterator[_Memory]:
    """Each convolution of a block with what follows it: normalisation, activation, squeeze-and-excitation."""
    value, cast = setting.num_images * setting.value_size, setting.cast_size
    layers = convolutions(block)
    inputs = 0 if block.kind == STEM else value * block.in_channels * block.in_size**2
    shortcut = value * block.out_channels * block.out_size**2 if _has_residual(block) else 0
    for number, (kernel, fan_in, channels, size) in enumerate(layers, start=1):
        is_last, is_squeezed = number == len(layers), block.se_ratio > 0 and number == len(layers) - 1
        is_projection = is_last and len(layers) > 1
        numbers, outputs = kernel**2 * fan_in * channels, value * channels * size**2
        maps = 2 if is_projection or block.kind == HEAD else 4 if is_squeezed else 3
        squeeze = _squeeze_memory(block, setting) if is_squeezed else _NOTHING
        # Kept maps are let go one by one while gradients of their size come and go: together so many at most.
        undone = (3 if is_projection else 6 if is_squeezed else 4) * outputs + cast * numbers
        passed = (
            inputs
            + shortcut
            + max(
                outputs
                + _weight_gradient(numbers, setting)
                + _workspace(block, kernel, numbers, inputs + outputs, setting),
                _rounded_weight_gradient(numbers, setting),
            )
        )
        yield _Memory(
            kept=maps * outputs + 2 * _FLOAT32 * channels + cast * numbers + squeeze.kept,
            # The gradient of a block's result is its last layer's, and waits for the shortcut after that.
            most=max(undone + (0 if is_last else shortcut), passed),
            weights=_FLOAT32 * (numbers + 2 * channels) + squeeze.weights,
            largest=_FLOAT32 * numbers,
            statistics=2 * _FLOAT32 * channels + _COUNTER,
        )
        inputs = outputs


def _squeeze_memory(block: PlacedBlock, setting: _Setting) -> _Memory:
    """Two fully connected layers over one pixel; the product of map and gate is counted with the maps."""
    hidden, squeezed = block.hidden_channels, block.squeezed_channels
    kept = 2 * setting.num_images * setting.value_size * (hidden + squeezed)
    numbers = 2 * hidden * squeezed
    return _Memory(
        kept=kept + setting.cast_size * numbers,
        most=0,
        weights=_FLOAT32 * (numbers + hidden + squeezed),
        largest=_FLOAT32 * hidden * squeezed,
        statistics=0,
    )


def _classifier_memory(features: int, num_classes: int, setting: _Setting) -> _Memory:
    """Pooled features, linear layer and cross-entropy, which is computed in float32."""
    numbers = (features + 1) * num_classes
    pooled, logits = setting.num_images * setting.value_size * features, setting.num_images * _FLOAT32 * num_classes
    kept = pooled + logits + setting.cast_size * numbers
    return _Memory(
        kept=kept,
        most=max(
            kept + 2 * logits,
            2 * pooled + 2 * logits + _weight_gradient(numbers, setting),
            pooled + _rounded_weight_gradient(numbers, setting),
        ),
        weights=_FLOAT32 * numbers,
        largest=_FLOAT32 * features * num_classes,
        statistics=0,
    )


def _weight_gradient(numbers: int, setting: _Setting) -> int:
    """Where it is found: the weights as they were rounded, and their gradient, rounded alike."""
    return (setting.cast_size + setting.value_size) * numbers


def _rounded_weight_gradient(numbers: int, setting: _Setting) -> int:
    """Where it becomes float32: the weights as they were rounded are gone."""
    return (setting.cast_size + _FLOAT32) * numbers


def _workspace(block: PlacedBlock, kernel: int, numbers: int, maps: int, setting: _Setting) -> int:
    """What oneDNN, which computes convolutions on the CPU, works with to find gradients.

    An upper bound for pointwise convolutions of maps that do not lie channels last: small ones go without copies.
    """
    if not setting.on_cpu:
        return 0
    # It has layouts of its own: maps that do not lie channels last are copied.
    copies = 0 if setting.channels_last else maps
    if kernel == 1:
        return copies
    if block.kind == MBCONV:
        return copies + (_depthwise_workspace(block, setting) if setting.channels_last else 0)
    # So are the gradients of weights, in float32 once more to lie channels last.
    is_float32 = setting.value_size == _FLOAT32
    return copies + _FLOAT32 * numbers * (1 + (setting.channels_last and is_float32))


def _depthwise_workspace(block: PlacedBlock, setting: _Setting) -> int:
    """Of depthwise weights that lie channels last: up to tens of megabytes for one layer, whatever the batch.

    Other than for 3×3 oneDNN has no kernel for them, and pads each channel's filter to tiles of 16×16 numbers (with
    AVX-512; to smaller ones on other processors). In 16 bits a sum in float32 lies beside that, and maps of an image
    are transposed in each thread; one thread is counted.
    """
    kernel, size, channels = block.kernel_size, block.in_size, block.hidden_channels
    has_kernel = kernel == 3 and size > block.stride + 1
    has_shortcut = setting.small_maps and size <= min(block.stride, kernel // 2 + 1)
    if has_kernel or has_shortcut:
        return 0
    tiles = _TILE * kernel**2 * channels
    if setting.value_size == _FLOAT32:
        return _FLOAT32 * tiles
    return (_FLOAT32 + 2) * tiles + 32 * channels * (size**2 + block.out_size**2)


def _has_residual(block: PlacedBlock) -> bool:
    is_inner = block.kind not in (STEM, HEAD)
    return is_inner and block.stride == 1 and block.in_channels == block.out_channels
