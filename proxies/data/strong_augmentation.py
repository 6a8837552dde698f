"""RandAugment and cutout of the images of a pass, where it asks for them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .passes import TrainingPass

if TYPE_CHECKING:
    from .randaugment import RandAugmentDraws


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StrongAugmentation:
    """What chance decides about each image of a pass, drawn on the CPU for all of them."""

    training_pass: TrainingPass
    operations: "RandAugmentDraws | None"
    """Of N images; None without RandAugment."""
    centres: Tensor | None
    """(N, 2) where each image is blanked, as shares of its sides; None without cutout."""

    @classmethod
    def draw(cls, training_pass: TrainingPass, num_images: int, *, generator: torch.Generator) -> "StrongAugmentation":
        operations = None
        if training_pass.randaugment:
            from .randaugment import RandAugmentDraws  # torchvision takes a second to import, and most passes need none

            operations = RandAugmentDraws.draw(num_images, generator=generator)
        centres = torch.rand(num_images, 2, generator=generator) if training_pass.cutout else None
        return cls(training_pass=training_pass, operations=operations, centres=centres)

    def apply(self, pixels: Tensor, positions: slice) -> Tensor:
        """The images (N, C, H, W), uint8, that come at these positions of the pass, changed as drawn."""
        if self.operations is None and self.centres is None:
            return pixels
        from .randaugment import cut_out, rand_augment

        if self.operations is not None:
            operations = self.operations.slice(positions.start, positions.stop)
            pixels = rand_augment(pixels, operations, self.training_pass.randaugment)
        if self.centres is not None:
            pixels = cut_out(pixels, self.centres[positions], self.training_pass.cutout)
        return pixels
