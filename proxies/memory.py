"""Peak memory of a training step in closed form: microseconds, no network built, nothing launched.

A step holds weights, statistics of batch normalisation, the optimizer's state and the batch all the time. Going
forward, it keeps what the way back needs; going back, it lets go of that block by block while gradients of weights
pile up. The peak is the highest point of the way back: deep blocks have the weights, early ones the large maps.

What a convolution keeps for the way back, in maps of its output: its own result (batch normalisation's input), the
normalised one (the activation's input, copied because the activation works in place) and the activated one (the next
convolution's input); after a projection, which has no activation, the second is missing.

Not counted: what the process, its libraries and the device's driver hold before a network is built, memory lost
between blocks of an allocator, cuDNN's working memory, and oneDNN's but for the gradient of weights. The network is
taken as not compiled.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from search_spaces.architecture import MBCONV, Architecture
from search_spaces.blocks import HEAD, STEM, PlacedBlock, placed_blocks

from .complexity import convolutions, count_params
from .execution import PLAIN, ExecutionMode
from .micro_batches import largest_part

FLOAT32 = 4
OPTIMIZERS = {"adamw": (2, 0), "sgd": (1, 0), "nadamw": (2, 3), "rmsproptf": (2, 3), "lamb": (2, 4), "lion": (1, 2)}
"""Numbers an optimizer keeps for every weight, and those it needs besides for one tensor of weights at a time."""
LABEL = COUNTER = 8
TILE = 16 * 16


class _Memory(NamedTuple):
    """Bytes of one part of a network, a layer, a block or the classifier, for one part of a batch."""

    kept: int
    """From its way forward until its way back."""
    most: int
    """Most that is held on its way back, beside what earlier parts keep and gradients of later ones."""
    gradients: int
    """Of its weights, as far as they pile up on the way back."""


def predict_peak_memory(
    architecture: Architecture,
    *,
    batch_size: int,
    resolution: int | None = None,
    mode: ExecutionMode = PLAIN,
    num_classes: int = 1000,
    in_channels: int = 3,
    optimizer: str = "adamw",
    micro_batches: int = 1,
    device_kind: str = "cpu",
) -> int:
    """Bytes a settled training step holds at its peak, its network, optimizer and batch included.

    >>> from search_spaces import catalog
    >>> predict_peak_memory(catalog.get("efficientnetv2-s").architecture, batch_size=32) // 2**20
    8909

    Args:
        architecture: What is trained, by :mod:`proxies.training_step`.
        batch_size: Images in a step.
        resolution: Pixels per side; the architecture's own by default.
        mode: How the step is executed, as if not compiled.
        num_classes: Of the classifier.
        in_channels: Of the images.
        optimizer: As in :class:`~proxies.training.config.TrainConfig`.
        micro_batches: Parts the batch is trained on in.
        device_kind: "cpu", "cuda" or "mps".

    Raises:
        ValueError: If the optimizer is unknown, or parts would be too small.
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    num_states, num_copies = OPTIMIZERS[optimizer]
    num_images = largest_part(batch_size, micro_batches)
    resolution = resolution or architecture.resolution
    blocks = placed_blocks(architecture, resolution, in_channels=in_channels)
    # Gradients of a whole batch pile up on the way back; with several parts, those of the parts before are there.
    piles_up = micro_batches == 1
    memories = [_block_memory(block, num_images, mode, device_kind, piles_up) for block in blocks]
    memories.append(_classifier_memory(architecture.head_channels, num_classes, num_images, mode, piles_up))
    way_back = _joined(memories)
    weights = FLOAT32 * count_params(architecture, num_classes, in_channels)
    always = weights * (1 + num_states + (not piles_up)) + sum(map(_statistics, blocks))
    image = in_channels * resolution**2
    batch = batch_size * (FLOAT32 * image + LABEL)
    # The part at hand as the mode wants it, laid out and rounded, and what the network says of it.
    copies = num_images * image * (FLOAT32 * (mode.channels_last and in_channels > 1) + _cast_size(mode))
    logits = num_images * num_classes * _value_size(mode)
    largest = max(architecture.head_channels * num_classes, *map(_largest_weight, blocks))
    update = way_back.gradients + FLOAT32 * num_copies * largest
    return always + batch + max(copies + logits + way_back.most, update)


def _joined(memories: Sequence[_Memory]) -> _Memory:
    """Of layers or blocks in a row, forward and then back."""
    kept = before = sum(memory.kept for memory in memories)
    gradients = highest = 0
    for memory in reversed(memories):
        before -= memory.kept
        highest = max(highest, before + memory.most + gradients)
        gradients += memory.gradients
    return _Memory(kept, highest, gradients)


@lru_cache(maxsize=65_536)
def _block_memory(
    block: PlacedBlock, num_images: int, mode: ExecutionMode, device_kind: str, piles_up: bool
) -> _Memory:
    return _joined(tuple(_layer_memories(block, num_images, mode, device_kind, piles_up)))


def _layer_memories(
    block: PlacedBlock, num_images: int, mode: ExecutionMode, device_kind: str, piles_up: bool
) -> Iterator[_Memory]:
    """Each convolution of a block with what follows it: normalisation, activation, squeeze-and-excitation."""
    value, cast = num_images * _value_size(mode), _cast_size(mode)
    inputs = 0 if block.kind == STEM else value * block.in_channels * block.in_size**2
    shortcut = value * block.out_channels * block.out_size**2 if _has_residual(block) else 0
    layers = convolutions(block)
    for number, (kernel, fan_in, channels, size) in enumerate(layers, start=1):
        weights, outputs = kernel**2 * fan_in * channels, value * channels * size**2
        is_projection = len(layers) > 1 and number == len(layers)
        is_squeezed = block.se_ratio > 0 and number == len(layers) - 1
        kept_maps = 2 if is_projection or block.kind == HEAD else 3
        kept = kept_maps * outputs + 2 * FLOAT32 * channels + cast * weights
        gradients = FLOAT32 * (weights + 2 * channels)
        if is_squeezed:
            hidden, squeezed = block.hidden_channels, block.squeezed_channels
            kept += outputs + 2 * value * (hidden + squeezed) + 2 * cast * hidden * squeezed
            gradients += FLOAT32 * (2 * hidden * squeezed + hidden + squeezed)
        # What is kept is let go map by map while gradients of the same size come: so many of both at most.
        undone = (3 if is_projection else 6 if is_squeezed else 4) * outputs
        passed = outputs + inputs + (FLOAT32 + cast) * weights
        if device_kind == "cpu" and kernel > 1:
            is_depthwise = block.kind == MBCONV
            passed += _depthwise_workspace(block, mode) if is_depthwise else _dense_workspace(weights, mode)
        # The gradient of a block's result waits for the shortcut, once it is not used by the last layer itself.
        waiting = 0 if number == len(layers) else shortcut
        most = cast * weights + max(undone + waiting, passed + shortcut)
        yield _Memory(kept, most, piles_up * gradients)
        inputs = outputs


def _classifier_memory(
    features: int, num_classes: int, num_images: int, mode: ExecutionMode, piles_up: bool
) -> _Memory:
    """Pooled features, linear layer and cross-entropy, which is computed in float32."""
    weights = (features + 1) * num_classes
    kept = num_images * (_value_size(mode) * features + FLOAT32 * num_classes) + _cast_size(mode) * weights
    gradients = num_images * (_value_size(mode) * features + 2 * FLOAT32 * num_classes)
    most = kept + gradients + (FLOAT32 + _cast_size(mode)) * weights
    return _Memory(kept, most, piles_up * FLOAT32 * weights)


@lru_cache(maxsize=65_536)
def _statistics(block: PlacedBlock) -> int:
    """Running mean and variance of a block's batch normalisations, and their counts of batches."""
    return sum(2 * FLOAT32 * channels + COUNTER for _, _, channels, _ in convolutions(block))


@lru_cache(maxsize=65_536)
def _largest_weight(block: PlacedBlock) -> int:
    return max(kernel**2 * fan_in * channels for kernel, fan_in, channels, _ in convolutions(block))


def _dense_workspace(weights: int, mode: ExecutionMode) -> int:
    """oneDNN finds the gradient of float32 weights in a layout of its own; copies lead from there to the weights'."""
    return FLOAT32 * weights * (1 + mode.channels_last) if mode.dtype == "float32" else 0


def _depthwise_workspace(block: PlacedBlock, mode: ExecutionMode) -> int:
    """What oneDNN works with to find the gradient of depthwise weights that lie channels last.

    Other than for 3×3 it has no kernel for that, and pads each channel's filter to tiles of 16×16 numbers (with
    AVX-512; to smaller ones on other processors): up to tens of megabytes for one layer, whatever the batch. In 16 bits
    a sum in float32 lies beside that, and maps of an image are transposed in each thread; one thread is counted.
    """
    kernel, size, channels = block.kernel_size, block.in_size, block.hidden_channels
    has_kernel = kernel == 3 and size > block.stride + 1
    has_shortcut = mode.small_maps and size <= min(block.stride, kernel // 2 + 1)
    if not mode.channels_last or has_kernel or has_shortcut:
        return 0
    tiles = TILE * kernel**2 * channels
    if mode.dtype == "float32":
        return FLOAT32 * tiles
    return (FLOAT32 + 2) * tiles + 32 * channels * (size**2 + block.out_size**2)


def _has_residual(block: PlacedBlock) -> bool:
    is_inner = block.kind not in (STEM, HEAD)
    return is_inner and block.stride == 1 and block.in_channels == block.out_channels


def _value_size(mode: ExecutionMode) -> int:
    """Bytes of a number in a map."""
    return FLOAT32 if mode.dtype == "float32" else 2


def _cast_size(mode: ExecutionMode) -> int:
    """Bytes of the rounded copy that autocast keeps of a number; 0 where nothing is rounded."""
    return 0 if mode.dtype == "float32" else 2
