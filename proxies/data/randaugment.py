"""RandAugment and cutout of a whole batch at once, on the device that trains, each image with operations of its own.

RandAugment is arXiv:1909.13719: two operations per image, drawn from the same list, all of one magnitude. Operations,
ranges and the scale of the magnitude are timm's (``rand-m…-mmax…-p1``), which are those of Google's EfficientNetV2:
10 is the end of the first paper's ranges and more exceeds them. As there, every drawn operation is applied (timm's
default applies half of them), blank pixels are grey (128) and the nearest pixel is taken. Other than there, cutout is
not in the list, images shift by shares of their side, not by pixels, and contrast is PIL's: Google's blends with the
number of pixels ÷ 256 where PIL takes their mean.

Some operations do less as the magnitude grows: posterising keeps 1 of 8 bits at least, 4 at 10 and all from 20 on;
solarising inverts everything at 0 and nothing from 10 on; colour, contrast, brightness and sharpness are taken away
below 5 and added above.

Operations are of three kinds, each done for all its images together: maps from level to level are tables, looked up
once; mixtures of pixels are computed; moves look pixels up elsewhere. Comparing bytes, and choosing between them, is
avoided: on the CPU that costs ten times what arithmetic does.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

NUM_LAYERS = 2
"""Operations of an image, one after another."""
GREY = 128
"""Of pixels with nothing behind them."""

_LEVELS = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RandAugmentDraws:
    """What chance decides about each image; it stays on the CPU, where looking at it waits for nothing."""

    operations: Tensor
    """(N, 2) indices into :data:`OPERATIONS`."""
    negated: Tensor
    """(N, 2) bool, whether a shift, shear or rotation goes the other way."""

    @classmethod
    def draw(cls, num_images: int, *, generator: torch.Generator) -> "RandAugmentDraws":
        """Draw for one epoch, on the CPU, so that a seed means the same on every device."""
        size = (num_images, NUM_LAYERS)
        return cls(
            operations=torch.randint(len(OPERATIONS), size, generator=generator),
            negated=torch.rand(size, generator=generator) < 0.5,
        )

    def slice(self, start: int, stop: int) -> "RandAugmentDraws":
        """The draws of one batch."""
        return RandAugmentDraws(operations=self.operations[start:stop], negated=self.negated[start:stop])

    def __len__(self) -> int:
        return len(self.operations)


def rand_augment(pixels: Tensor, draws: RandAugmentDraws, magnitude: float) -> Tensor:
    """Apply to every image its two operations.

    Magnitude 0 is no identity: some operations do their most there, as in Google's. Who wants none does not call this.

    Args:
        pixels: Images (N, C, H, W), uint8, C 1 or 3; a grey image has no colour to change, all else works on it.
        draws: Of these N images.
        magnitude: On Google's scale, at least 0; in a training that progresses it is a fraction.

    Returns:
        As many images, uint8; the ones given are left as they were.

    Raises:
        ValueError: If the images are not as said, or the draws are not of as many.
    """
    _check(pixels, len(draws))
    if not magnitude >= 0:
        raise ValueError(f"magnitude must be at least 0, got {magnitude}")
    arrangement = torch.arange(len(pixels))
    for layer in range(NUM_LAYERS):
        order = draws.operations[arrangement, layer].argsort(stable=True)
        arrangement = arrangement[order]
        in_order = pixels.index_select(0, _on(pixels, order))
        pixels = _apply(in_order, draws.operations[arrangement, layer], draws.negated[arrangement, layer], magnitude)
    return pixels.index_select(0, _on(pixels, arrangement.argsort()))


def cut_out(pixels: Tensor, centres: Tensor, share: float) -> Tensor:
    """Blank a square around a random pixel of each image; it may reach beyond the edge (arXiv:1708.04552).

    Args:
        pixels: Images (N, C, H, W), uint8.
        centres: (N, 2) row and column as shares of height and width in [0, 1), on the CPU.
        share: Side of the square ÷ height of the image.

    Raises:
        ValueError: If the images are not as said, or the centres are not of as many.
    """
    _check(pixels, len(centres))
    height, width = pixels.shape[-2:]
    side = round(share * height)
    first = _on(pixels, (centres * torch.tensor([height, width])).long() - side // 2)
    rows, columns = (_places(first[:, axis], side, length) for axis, length in enumerate((height, width)))
    blank = rows[:, None, :, None] * columns[:, None, None, :]
    return pixels * (1 - blank) + GREY * blank


def _places(first: Tensor, side: int, length: int) -> Tensor:
    """(N, length) uint8, 1 at the `side` places that begin at first (N,), else 0."""
    places = torch.arange(length, device=first.device) - first[:, None]
    return ((places >= 0) & (places < side)).to(torch.uint8)


def _check(pixels: Tensor, num_draws: int) -> None:
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
        raise ValueError(
            f"pixels must be uint8 (N, C, H, W) with 1 or 3 channels, got {pixels.dtype} {tuple(pixels.shape)}"
        )
    if len(pixels) != num_draws:
        raise ValueError(f"there must be draws for each image, got {num_draws} for {len(pixels)} images")


def _on(pixels: Tensor, drawn: Tensor) -> Tensor:
    """What was drawn, where the images are, without waiting for them."""
    return drawn.to(pixels.device, non_blocking=True)


def _apply(pixels: Tensor, operations: Tensor, negated: Tensor, magnitude: float) -> Tensor:
    """One operation for each image; images are sorted by it."""
    counts = torch.bincount(operations, minlength=len(OPERATIONS)).tolist()
    num_fixed = sum(counts[:_FIRST_MOVE])
    groups = pixels[:num_fixed].split(counts[:_FIRST_MOVE])
    mixtures = zip(_MIXTURES.values(), groups[len(_MAPS) :], strict=True)
    moves = 2 * (operations[num_fixed:] - _FIRST_MOVE) + negated[num_fixed:]
    parts = (
        _mapped(groups[: len(_MAPS)], magnitude),
        *(mix(group, magnitude) for mix, group in mixtures),
        _moved(pixels[num_fixed:], moves, magnitude),
    )
    return torch.cat(parts)


def _to_uint8(numbers: Tensor) -> Tensor:
    """Cut off below and above, and rounded down; by way of int16, which the CPU converts several times as fast."""
    return numbers.clamp(0, 255).short().to(torch.uint8)


def _away_from(degenerate: Tensor | int, numbers: Tensor, magnitude: float) -> Tensor:
    """From what is degenerate towards the image and beyond: 0.1 of the way at magnitude 0, 1.9 at 10."""
    way = magnitude / 10 * 1.8 + 0.1
    return (numbers - degenerate).mul_(way).add_(degenerate)


def _luma(pixels: Tensor) -> Tensor:
    """(N, 1, H, W) brightness, int32 from 0 to 255, by ITU-R 601-2 in fixed point as in PIL."""
    if pixels.shape[1] == 1:
        return pixels.int()
    red, green, blue = pixels.int().unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).unsqueeze(1)


# Maps: levels 0 … 255 as (256,) float, to those in their places, (256,) or (N, C, 256), for a group of images.


def _mapped(groups: tuple[Tensor, ...], magnitude: float) -> Tensor:
    """Groups of images that lie in a row, each by its own map, in one look-up."""
    pixels = torch.cat(groups)
    levels = torch.arange(_LEVELS, device=pixels.device, dtype=torch.float32)
    tables = [
        _to_uint8(remap(levels, group, magnitude)).expand(*group.shape[:2], -1)
        for remap, group in zip(_MAPS.values(), groups, strict=True)
        if len(group) > 0
    ]
    return torch.cat(tables).gather(2, pixels.flatten(2).long()).view_as(pixels) if tables else pixels


def _stretched(levels: Tensor, pixels: Tensor, magnitude: float) -> Tensor:
    """Each channel from its darkest to its brightest pixel; a flat one stays."""
    darkest, brightest = (side((2, 3)).float().unsqueeze(2) for side in (pixels.amin, pixels.amax))
    return torch.where(brightest > darkest, (levels - darkest) * (255 / (brightest - darkest)), levels)


def _equalized(levels: Tensor, pixels: Tensor, magnitude: float) -> Tensor:
    """Each channel so that its levels are equally frequent, by PIL's rule; few pixels stay."""
    flat = pixels.flatten(2).long()
    counts = torch.zeros(*flat.shape[:2], _LEVELS, dtype=torch.int32, device=pixels.device)
    counts.scatter_add_(2, flat, counts.new_ones(()).expand_as(flat))
    num_brightest = counts.gather(2, flat.amax(2, keepdim=True))
    step = (flat.shape[2] - num_brightest) // 255
    darker = counts.cumsum(2) - counts
    return torch.where(step > 0, ((darker + step // 2) // step.clamp(min=1)).float(), levels)


def _inverted(levels: Tensor, pixels: Tensor, magnitude: float) -> Tensor:
    return 255 - levels


def _posterized(levels: Tensor, pixels: Tensor, magnitude: float) -> Tensor:
    bits = min(max(1, int(magnitude / 10 * 4)), 8)
    step = 2 ** (8 - bits)
    return levels // step * step


def _solarized(levels: Tensor, pixels: Tensor, magnitude: float) -> Tensor:
    return torch.where(levels < int(magnitude / 10 * 256), levels, 255 - levels)


def _dark_raised(levels: Tensor, pixels: Tensor, magnitude: float) -> Tensor:
    return torch.where(levels < 128, levels + min(128, int(magnitude / 10 * 110)), levels)


def _contrasted(levels: Tensor, pixels: Tensor, magnitude: float) -> Tensor:
    mean = _luma(pixels).float().mean((2, 3)).add_(0.5).floor_()
    return _away_from(mean.expand(-1, pixels.shape[1]).unsqueeze(2), levels, magnitude)


def _brightened(levels: Tensor, pixels: Tensor, magnitude: float) -> Tensor:
    return _away_from(0, levels, magnitude)


_MAPS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "AutoContrast": _stretched,
    "Equalize": _equalized,
    "Invert": _inverted,
    "Posterize": _posterized,
    "Solarize": _solarized,
    "SolarizeAdd": _dark_raised,
    "Contrast": _contrasted,
    "Brightness": _brightened,
}

# Mixtures: images (N, C, H, W), uint8, whose pixels take part of others, or of other channels.


def _coloured(pixels: Tensor, magnitude: float) -> Tensor:
    if pixels.shape[1] == 1:
        return pixels
    return _to_uint8(_away_from(_luma(pixels), pixels.float(), magnitude))


def _sharpened(pixels: Tensor, magnitude: float) -> Tensor:
    """Away from the image smoothed by ((1, 1, 1), (1, 5, 1), (1, 1, 1)) ÷ 13; pixels at the edge stay."""
    if min(pixels.shape[2:]) < 3:
        return pixels
    smooth = pixels.short()
    columns = smooth[:, :, :-2] + smooth[:, :, 1:-1] + smooth[:, :, 2:]
    sums = columns[..., :-2] + columns[..., 1:-1] + columns[..., 2:]
    inner = smooth[:, :, 1:-1, 1:-1]
    inner.copy_(sums.add_(inner, alpha=4).float().div_(13).round_())
    return _to_uint8(_away_from(smooth, pixels.float(), magnitude))


_MIXTURES: dict[str, Callable[[Tensor, float], Tensor]] = {"Color": _coloured, "Sharpness": _sharpened}

# Moves: where in the source (x, y) a pixel (x, y) is found, as the matrix ((a, b, c), (d, e, f)).

_Matrix = tuple[float, float, float, float, float, float]


def _rotation(magnitude: float, width: int, height: int) -> _Matrix:
    angle = math.radians(magnitude / 10 * 30)
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = width / 2, height / 2
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


def _shear_x(magnitude: float, width: int, height: int) -> _Matrix:
    return 1, magnitude / 10 * 0.3, 0, 0, 1, 0


def _shear_y(magnitude: float, width: int, height: int) -> _Matrix:
    return 1, 0, 0, magnitude / 10 * 0.3, 1, 0


def _shift_x(magnitude: float, width: int, height: int) -> _Matrix:
    return 1, 0, magnitude / 10 * 0.45 * width, 0, 1, 0


def _shift_y(magnitude: float, width: int, height: int) -> _Matrix:
    return 1, 0, 0, 0, 1, magnitude / 10 * 0.45 * height


_MOVES: dict[str, Callable[[float, int, int], _Matrix]] = {
    "Rotate": _rotation,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateXRel": _shift_x,
    "TranslateYRel": _shift_y,
}

OPERATIONS = (*_MAPS, *_MIXTURES, *_MOVES)
"""By timm's names; draws are indices into it."""
_FIRST_MOVE = len(_MAPS) + len(_MIXTURES)


def _moved(pixels: Tensor, moves: Tensor, magnitude: float) -> Tensor:
    """Pixels looked up where each image's move (N,) says they come from."""
    num_channels, height, width = pixels.shape[1:]
    sources = _sources(magnitude, width, height, pixels.device).index_select(0, _on(pixels, moves))
    # One more pixel, behind the last, is what lies outside.
    padded = functional.pad(pixels.flatten(2), (0, 1), value=GREY)
    return padded.gather(2, sources[:, None].expand(-1, num_channels, -1)).view_as(pixels)


@functools.lru_cache(maxsize=2)
def _sources(magnitude: float, width: int, height: int, torch_device: torch.device) -> Tensor:
    """(10, H·W) place of each pixel's source, H·W outside: there and back of each move, kept from step to step."""
    matrices = torch.tensor(
        [move(sign * magnitude, width, height) for move in _MOVES.values() for sign in (1, -1)], dtype=torch.float64
    )
    a, b, c, d, e, f = (column[:, None, None] for column in matrices.unbind(1))
    x, y = torch.arange(width).double() + 0.5, torch.arange(height).double()[:, None] + 0.5
    from_x, from_y = (a * x + b * y + c).floor().long(), (d * x + e * y + f).floor().long()
    is_inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    return torch.where(is_inside, from_y * width + from_x, height * width).flatten(1).to(torch_device)
