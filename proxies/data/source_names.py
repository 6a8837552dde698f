"""Names of data sets, as users give them. Needs no torch."""

NAMED_SOURCES = ("digits", "fashion-mnist", "cifar10", "cifar100", "flowers102")
FOLDER_SOURCES = ("imagefolder", "imagenet", "stanford-cars", "hf")
"""Each followed by a colon and the path of a folder that the user has."""

SOURCES_TEXT = f"{', '.join(NAMED_SOURCES)}, or {', '.join(f'{kind}:PATH' for kind in FOLDER_SOURCES)}"


def split_source(source: str) -> tuple[str, str | None]:
    """The kind of a source, and the path of its folder, if it is one of a folder.

    >>> split_source("imagefolder:my photos"), split_source("digits")
    (('imagefolder', 'my photos'), ('digits', None))

    Raises:
        ValueError: If the path is missing.
    """
    kind, colon, path = source.partition(":")
    if kind not in FOLDER_SOURCES or not colon:
        return source, None
    if not path:
        raise ValueError(f"{kind} needs a path, as in {kind}:photos, got none")
    return kind, path
