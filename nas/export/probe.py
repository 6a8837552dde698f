"""What an export carries to be checked with, later and elsewhere: fixed images, and the logits that belong to them."""

import base64
import binascii
import copy
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
_FIELDS = ("probe_seed", "probe_channels", "probe_resolution", "probe_rounding", "probe_logits")
# Another order of additions makes another rounding, which may well be a few times the one that was looked at.
_SLACK = 10
_MAX_ROUNDING = 0.01
_SCALES = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probe:
    """Fixed random images, and the logits that the source network gave for them."""

    seed: int
    in_channels: int
    resolution: int
    """Pixels per side."""
    rounding: float
    """What the source makes of float32's rounding: the largest error of its logits ÷ the largest logit."""
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
        return Comparison(
            # numpy's maximum, unlike Python's, is NaN if any is.
            max_difference=float(np.max(differences)),
            max_logit=float(np.abs(self.logits).max()),
            limit=max(TOLERANCE, _SLACK * self.rounding),
        )

    def to_metadata(self) -> dict[str, str]:
        """The probe as texts: the images by their seed, the logits as base64 of little-endian float32."""
        logits = base64.b64encode(self.logits.astype("<f4").tobytes()).decode("ascii")
        values = (self.seed, self.in_channels, self.resolution, self.rounding, logits)
        return dict(zip(_FIELDS, map(str, values), strict=True))

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
            rounding = float(metadata["probe_rounding"])
            values = np.frombuffer(base64.b64decode(metadata["probe_logits"], validate=True), dtype="<f4")
            logits = values.reshape(max(BATCHES), -1)
        except (ValueError, binascii.Error) as error:
            raise ValueError(f"an export's probe must be whole, got a damaged one: {error}") from None
        return Probe(seed=seed, in_channels=in_channels, resolution=resolution, rounding=rounding, logits=logits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How far an export's logits are from those of the network it was made of."""

    max_difference: float
    """Largest |difference| of a logit, over all images and batch sizes."""
    max_logit: float
    """Largest |logit| of the source."""
    limit: float
    """Largest difference ÷ largest logit that passes."""

    @property
    def relative(self) -> float:
        """Largest difference ÷ largest logit."""
        if self.max_difference == 0:
            return 0.0
        return self.max_difference / self.max_logit if self.max_logit else math.inf

    @property
    def passed(self) -> bool:
        # A difference that is not a number must not pass.
        return self.relative <= self.limit

    def __str__(self) -> str:
        return (
            f"max |difference| {self.max_difference:.1e} of logits up to {self.max_logit:.1e}: {self.relative:.1e} of "
            f"them, limit {self.limit:.0e} (batches of {' and '.join(map(str, BATCHES))})"
        )


def make_probe(network: nn.Module, *, in_channels: int, resolution: int) -> Probe:
    """Ask a network for its logits.

    Args:
        network: On the CPU, in float32 and evaluation mode.
        in_channels: Channels of its images.
        resolution: Pixels per side.

    Raises:
        ValueError: If they are not finite, or mostly rounding: an export could not be told from a broken one.
    """
    images = random_images(_SEED, max(BATCHES), in_channels, resolution)
    with torch.inference_mode():
        logits = network(images).numpy()
    if not np.isfinite(logits).all():
        raise ValueError("the network's logits must be finite, got NaN or infinity: its weights are damaged")
    rounding = _rounding(network, images, logits)
    if rounding > _MAX_ROUNDING:
        raise ValueError(
            f"the network's logits must be reproducible in float32, but rounding alone moves them by {rounding:.0%}: "
            "fresh weights do that until their batch norms have seen images in training mode"
        )
    return Probe(seed=_SEED, in_channels=in_channels, resolution=resolution, rounding=rounding, logits=logits)


def _rounding(network: nn.Module, images: Tensor, logits: np.ndarray) -> float:
    exact_network = copy.deepcopy(network).double()
    with torch.inference_mode():
        exact = torch.cat([exact_network(image) for image in images.double().split(1)]).numpy()
    size = np.abs(exact).max()
    return float(np.abs(logits - exact).max() / size) if size else 0.0


def random_images(seed: int, num_images: int, in_channels: int, resolution: int) -> Tensor:
    """Noise of mean 0 and deviation 1 in cells of 1, 2, 4 and 8 pixels at once, (N, C, H, W) float32.

    Pooling makes fine noise alike: of some networks all logits would be nearly the same for all images, and hardly
    change with the first layers. The images are the same on every machine, in every version, which of numpy's
    generators only the old one promises.
    """
    generator = np.random.RandomState(seed)
    images = np.zeros((num_images, in_channels, resolution, resolution))
    for scale in range(_SCALES):
        cells = np.arange(resolution) >> scale
        images += generator.random_sample(images.shape)[:, :, cells][:, :, :, cells] - 0.5
    # The variance of a uniform number is 1/12.
    return torch.from_numpy((images * math.sqrt(12 / _SCALES)).astype(np.float32))
