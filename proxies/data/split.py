"""Which images train, which judge candidates, and which are kept for the end: stratified, seeded, by index."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .images import Images, LabelledImages, digest_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Splits:
    """A data set, split."""

    name: str
    class_names: tuple[str, ...]
    mirror_keeps_label: bool
    train: LabelledImages
    minival: LabelledImages
    """Judges candidates during a search."""
    read_test: Callable[[], LabelledImages]
    """Reads the images kept for the end; a search never calls it."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def in_channels(self) -> int:
        return self.train.in_channels

    def digest(self) -> str:
        """A hex digest of all that a search sees: names, labels and images of train and minival, in their order."""
        return digest_of(self.class_names, self.train, self.minival)


def split_images(images: Images, *, minival_share: float, test_share: float, seed: int) -> Splits:
    """Split a data set so that each class keeps its share in every part.

    Args:
        images: The data set.
        minival_share: Of the training part where there is a test part, else of all images.
        test_share: Of all images; used only where there is no test part.
        seed: The same seed gives the same split.

    Raises:
        ValueError: If a class has too few images for every part to get one, or the shares leave none for training.
    """
    cuts_minival, cuts_test = images.minival is None, images.read_test is None
    shares = ([minival_share] if cuts_minival else []) + ([test_share] if cuts_test else [])
    parts = stratified_parts(images.train.labels, shares, class_names=images.class_names, seed=seed)
    train = images.train.subset(parts[0])
    minival = images.train.subset(parts[1]) if images.minival is None else images.minival

    def read_held_out() -> LabelledImages:
        return images.train.subset(parts[-1])

    return Splits(
        name=images.name,
        class_names=images.class_names,
        mirror_keeps_label=images.mirror_keeps_label,
        train=train,
        minival=minival,
        read_test=read_held_out if images.read_test is None else images.read_test,
    )


def stratified_parts(labels: Tensor, shares: list[float], *, class_names: tuple[str, ...], seed: int) -> list[Tensor]:
    """Indices of the rest and of one part per share, each in ascending order.

    A class gives each part its share of its images, rounded, but at least one.

    Raises:
        ValueError: If a class has too few images, or the shares sum to 1 or more.
    """
    if sum(shares) >= 1:
        raise ValueError(f"the shares split off must sum to less than 1, got {' + '.join(map(str, shares))}")
    chosen: list[list[Tensor]] = [[] for _ in range(len(shares) + 1)]
    for name, members in zip(class_names, _shuffled_members(labels, len(class_names), seed), strict=True):
        sizes = [max(1, round(len(members) * share)) for share in shares]
        rest = len(members) - sum(sizes)
        if rest < 1:
            raise ValueError(
                f"a class needs an image in each of {len(shares) + 1} parts of the split, "
                f"got {len(members)} images of class {name!r}"
            )
        for part, indices in zip(chosen, members.split([rest, *sizes]), strict=True):
            part.append(indices)
    return [torch.cat(part).sort().values for part in chosen]


def stratified_share(images: LabelledImages, share: float, *, num_classes: int, seed: int) -> LabelledImages:
    """A share of each class, at least one image; of one seed, a smaller share lies within a larger one."""
    if share == 1:
        return images
    members = _shuffled_members(images.labels, num_classes, seed)
    kept = [indices[: max(1, round(len(indices) * share))] for indices in members]
    return images.subset(torch.cat(kept).sort().values)


def _shuffled_members(labels: Tensor, num_classes: int, seed: int) -> list[Tensor]:
    """Indices of each class, in a random order."""
    generator = torch.Generator().manual_seed(seed)
    members = [torch.nonzero(labels == label).flatten() for label in range(num_classes)]
    return [indices[torch.randperm(len(indices), generator=generator)] for indices in members]
