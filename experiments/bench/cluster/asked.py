"""What was asked for, checked."""

TABLES = ("throughput", "overhead", "flatness")


def tables_of(text: str) -> tuple[str, ...]:
    """The tables to be made.

    Raises:
        ValueError: If one is unknown.
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in TABLES:
            raise ValueError(f"tables must be some of {', '.join(TABLES)}, got {name!r}")
    return names


def workers_of(text: str) -> tuple[int, ...]:
    """Numbers of workers.

    Raises:
        ValueError: If one is no whole number of at least 1.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not word.isdecimal() or int(word) == 0:
            raise ValueError(f"workers must be whole numbers of at least 1, got {word!r}")
    return tuple(map(int, words))
