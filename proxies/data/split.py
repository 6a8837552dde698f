"""Which images train, which judge candidates, and which are kept for the end: stratified, seeded, by index."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from .images import Images, LabelledImages, digest_of

NAMED_CLASSES = 5
"""In a note about classes, at most."""


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
    note: str | None = None
    """What a user should know of the split, in one line: classes that are not in every part."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def in_channels(self) -> int:
        return self.train.in_channels

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names of the images that turned out to be unreadable so far, where these are left out."""
        return tuple(dict.fromkeys(self.train.skipped + self.minival.skipped))

    def digest(self) -> str:
        """A hex digest of all that a search sees: names, labels and images of train and minival, in their order."""
        return digest_of(self.class_names, self.train, self.minival)


def split_images(images: Images, *, minival_share: float, test_share: float, seed: int) -> Splits:
    """Split a data set so that each class keeps its share in every part, see :func:`stratified_parts`.

    Args:
        images: The data set.
        minival_share: Of the training part where there is a test part, else of all images.
        test_share: Of all images; used only where there is no test part.
        seed: The same seed gives the same split.

    Raises:
        ValueError: If a class has no images, or the shares leave none for training.
    """
    num_images, labels = len(images.train), images.train.labels
    _require_images(labels, images.class_names)
    if images.most_minival is not None:
        minival_share = min(minival_share, images.most_minival / num_images)
    shares = {} if images.minival is not None else {"minival": minival_share}
    if images.read_test is None:
        shares["test"] = test_share
    train, *others = stratified_parts(labels, list(shares.values()), num_classes=len(images.class_names), seed=seed)
    cut = {name: images.train.subset(part) for name, part in zip(shares, others, strict=True)}
    return Splits(
        name=images.name,
        class_names=images.class_names,
        mirror_keeps_label=images.mirror_keeps_label,
        train=images.train.subset(train),
        minival=cut["minival"] if images.minival is None else images.minival,
        read_test=(lambda: cut["test"]) if images.read_test is None else images.read_test,
        note=_note(images, cut.values()),
    )


def stratified_parts(labels: Tensor, shares: list[float], *, num_classes: int, seed: int) -> list[Tensor]:
    """Indices of the rest and of one part per share, each in ascending order.

    A class gives each part its share of its images, rounded, but at least one. Where a part would then be off by an
    image or more in total, it takes one more, or fewer, of the classes that were rounded furthest. A class of too few
    images gives them to the rest first, then to the last part.

    Raises:
        ValueError: If the shares sum to 1 or more.
    """
    if sum(shares) >= 1:
        raise ValueError(f"the shares split off must sum to less than 1, got {' + '.join(map(str, shares))}")
    members = _shuffled_members(labels, num_classes, seed)
    wanted = [_part_sizes([len(indices) for indices in members], share) for share in shares]
    chosen: list[list[Tensor]] = [[] for _ in range(len(shares) + 1)]
    for label, indices in enumerate(members):
        sizes = _affordable([part[label] for part in wanted], len(indices))
        for part, some in zip(chosen, indices.split([len(indices) - sum(sizes), *sizes]), strict=True):
            part.append(some)
    return [torch.cat(part).sort().values for part in chosen]


def _part_sizes(counts: list[int], share: float) -> list[int]:
    """Images that each class should give to a part."""
    exact = [count * share for count in counts]
    sizes = [max(1, round(size)) for size in exact]
    rounded = [label for label, size in enumerate(exact) if size >= 0.5]  # the others give one in any case
    surplus = round(sum(sizes[label] - exact[label] for label in rounded), 6)  # the sum of floats may fall short of 1
    step = 1 if surplus > 0 else -1
    furthest = sorted(rounded, key=lambda label: step * (exact[label] - sizes[label]))
    for label in furthest[: int(abs(surplus))]:
        sizes[label] = max(1, sizes[label] - step)
    return sizes


def _affordable(sizes: list[int], count: int) -> list[int]:
    """The same, less what leaves no image for training; the largest part gives way first, of equal ones the first."""
    sizes = list(sizes)
    while any(sizes) and sum(sizes) >= count:
        sizes[sizes.index(max(sizes))] -= 1
    return sizes


def _require_images(labels: Tensor, class_names: tuple[str, ...]) -> None:
    for name, count in zip(class_names, labels.bincount(minlength=len(class_names)).tolist(), strict=True):
        if count == 0:
            raise ValueError(f"a class needs an image to train on, got none of class {name!r}")


def _note(images: Images, parts: Iterable[LabelledImages]) -> str | None:
    """Which classes are too small for every part, in one line."""
    num_classes = len(images.class_names)
    missing = sum((part.labels.bincount(minlength=num_classes) == 0 for part in parts), torch.zeros(num_classes))
    counts = images.train.labels.bincount(minlength=num_classes).tolist()
    small = [f"{images.class_names[label]!r} ({counts[label]})" for label in missing.nonzero().flatten().tolist()]
    if not small:
        return None
    more = f" and {len(small) - NAMED_CLASSES} more" if len(small) > NAMED_CLASSES else ""
    return (
        f"{len(small)} of {num_classes} classes have too few images for every part of the split: "
        f"{', '.join(small[:NAMED_CLASSES])}{more}"
    )


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
    members = labels.argsort(stable=True).split(labels.bincount(minlength=num_classes).tolist())
    return [indices[torch.randperm(len(indices), generator=generator)] for indices in members]
