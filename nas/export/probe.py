"""What an export carries to be checked with, later and elsewhere: fixed images, and the logits that belong to them."""

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = 1e-4
"""Largest difference ÷ largest logit that passes: some hundred roundings of float32, less than a wrong layer makes."""
BATCHES = (1, 4)
"""A batch alone and one of several: a program that was traced for one size fails at the other."""

_SEED = 0
_FIELDS = ("probe_seed", "probe_channels", "probe_resolution", "probe_logits")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probe:
    """Fixed random images, and the logits that the source network gave for them."""

    seed: int
    in_channels: int
    resolution: int
    """Pixels per side."""
    logits: np.ndarray
    """(images, classes) float32."""

    def batches(self) -> list[Tensor]:
        """The images (N, C, H, W) in batches of the sizes `BATCHES`, each from the first image on."""
        images = random_images(self.seed, max(BATCHES), self.in_channels, self.resolution)
        return [images[:size] for size in BATCHES]

    def compare(self, answers: Sequence[Tensor]) -> "Comparison":
        """Hold the logits of `batches` against those of the source network.

        Raises:
            ValueError: If an answer has another shape.
        """
        differences = []
        for size, answer in zip(BATCHES, answers, strict=True):
            expected = self.logits[:size]
            if tuple(answer.shape) != expected.shape:
                raise ValueError(f"logits must be of shape {expected.shape}, got {tuple(answer.shape)}")
            differences.append(np.abs(answer.detach().numpy().astype(np.float64) - expected).max())
        # numpy's maximum, unlike Python's, is NaN if any is.
        return Comparison(max_difference=float(np.max(differences)), max_logit=float(np.abs(self.logits).max()))

    def to_metadata(self) -> dict[str, str]:
        """The probe as texts: the images by their seed, the logits as base64 of little-endian float32."""
        logits = base64.b64encode(self.logits.astype("<f4").tobytes()).decode("ascii")
        return dict(zip(_FIELDS, (str(self.seed), str(self.in_channels), str(self.resolution), logits), strict=True))

    @staticmethod
    def from_metadata(metadata: Mapping[str, str]) -> "Probe":
        """Read what `to_metadata` wrote.

        Raises:
            ValueError: If it is missing or malformed.
        """
        missing = [name for name in _FIELDS if name not in metadata]
        if missing:
            raise ValueError(f"an export must carry its probe, missing: {', '.join(missing)}")
        try:
            seed, in_channels, resolution = (int(metadata[name]) for name in _FIELDS[:3])
            values = np.frombuffer(base64.b64decode(metadata["probe_logits"], validate=True), dtype="<f4")
            logits = values.reshape(max(BATCHES), -1)
        except (ValueError, binascii.Error) as error:
            raise ValueError(f"an export's probe must be whole, got a damaged one: {error}") from None
        return Probe(seed=seed, in_channels=in_channels, resolution=resolution, logits=logits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How far an export's logits are from those of the network it was made of."""

    max_difference: float
    """Largest |difference| of a logit, over all images and batch sizes."""
    max_logit: float
    """Largest |logit| of the source."""

    @property
    def relative(self) -> float:
        """Largest difference ÷ largest logit."""
        if self.max_difference == 0:
            return 0.0
        return self.max_difference / self.max_logit if self.max_logit else math.inf

    @property
    def passed(self) -> bool:
        # A difference that is not a number must not pass.
        return self.relative <= TOLERANCE

    def __str__(self) -> str:
        return (
            f"max |difference| {self.max_difference:.1e} of logits up to {self.max_logit:.1e}: {self.relative:.1e} of "
            f"them, limit {TOLERANCE:.0e} (batches of {' and '.join(map(str, BATCHES))})"
        )


def make_probe(network: nn.Module, *, in_channels: int, resolution: int) -> Probe:
    """Ask a network for its logits.

    Args:
        network: On the CPU, in float32 and evaluation mode.
        in_channels: Channels of its images.
        resolution: Pixels per side.

    Raises:
        ValueError: If they are not finite: no export of such a network could be told from a broken one.
    """
    with torch.inference_mode():
        logits = network(random_images(_SEED, max(BATCHES), in_channels, resolution)).numpy()
    if not np.isfinite(logits).all():
        raise ValueError("the network's logits must be finite, got NaN or infinity: its weights are damaged")
    return Probe(seed=_SEED, in_channels=in_channels, resolution=resolution, logits=logits)


def random_images(seed: int, num_images: int, in_channels: int, resolution: int) -> Tensor:
    """Uniform noise of mean 0 and deviation 1 in cells of 1, 2, 4, 8 … pixels a side, (N, C, H, W) float32.

    Pooling makes fine noise alike: with cells of one pixel all logits of a network may be nearly the same for all
    images, and hardly change with its first layers. The images are the same on every machine, in every version, which
    of numpy's generators only the old one promises.
    """
    noise = np.random.RandomState(seed).random_sample((num_images, in_channels, resolution, resolution))
    for place in range(num_images):
        cells = np.arange(resolution) >> place
        noise[place] = noise[place][:, cells][:, :, cells]
    return torch.from_numpy(((noise - 0.5) * math.sqrt(12)).astype(np.float32))
