"""ImageNet (ILSVRC 2012) as most people have it: a folder per WordNet id in ``train/`` and in ``val/``."""

import re
from pathlib import Path

from .files import loose_image, subfolders
from .folders import read_part, require_same_classes
from .images import Images

MINIVAL_IMAGES = 25_000
"""About 2 % of the training images, as in arXiv:2104.00298, section 5.1; a tenth of them would judge little better."""
NAMES_FILE = "LOC_synset_mapping.txt"
"""Kaggle's list of WordNet ids and what they mean; optional."""

_WORDNET_ID = re.compile(r"n\d{8}")


def read_imagenet(folder: Path, *, skip_corrupt: bool = False) -> Images:
    """Read ImageNet, or a part of its classes; no image is opened, and none is asked for its size.

    ``val/`` is the test split; at most 25,000 images of ``train/`` are cut off to judge candidates.

    Args:
        folder: Holds ``train/`` and ``val/``.
        skip_corrupt: Leave unreadable images out.

    Raises:
        ValueError: In one line with the path, if a part is missing or not sorted into classes.
    """
    train, val = folder / "train", folder / "val"
    for part in (train, val):
        if not part.is_dir():
            raise ValueError(f"imagenet needs train/ and val/, each with a folder per WordNet id, got no {part}")
    ids = tuple(subfolder.name for subfolder in subfolders(train))
    strangers = [name for name in ids if not _WORDNET_ID.fullmatch(name)]
    if len(ids) < 2 or strangers:
        got = repr(strangers[0]) if strangers else f"{len(ids)} folders"
        raise ValueError(
            f"class folders of imagenet must be WordNet ids like n01440764, at least 2, got {got} in {train}"
        )
    if not subfolders(val) and loose_image(val) is not None:
        raise ValueError(
            f"images must lie in class folders, got {val} unsorted: move each image into val/ID/, where ID is the "
            "WordNet id that LOC_val_solution.csv gives it (soumith's valprep.sh does the same)"
        )
    require_same_classes(val, ids)
    return Images(
        name=f"imagenet:{folder}",
        class_names=_class_names(folder / NAMES_FILE, ids),
        mirror_keeps_label=True,
        train=read_part(folder, train, ids, skip_corrupt=skip_corrupt, refuse_empty=False),
        most_minival=MINIVAL_IMAGES,
        read_test=lambda: read_part(folder, val, ids, skip_corrupt=skip_corrupt, refuse_empty=False),
    )


def _class_names(file: Path, ids: tuple[str, ...]) -> tuple[str, ...]:
    """Each class's first name with its id, since two are called crane; ids alone where the file is missing."""
    if not file.is_file():
        return ids
    names = dict(line.split(" ", 1) for line in file.read_text(encoding="utf-8").splitlines() if " " in line)
    return tuple(f"{names[each].partition(',')[0].strip()} ({each})" if each in names else each for each in ids)
