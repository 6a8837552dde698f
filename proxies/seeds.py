"""Every random choice of a search or a training from its one seed, whatever was killed in between."""

import hashlib


def derived_seed(seed: int, *place: str | int) -> int:
    """A seed for one place: a proposal's index in a search, a step of a training.

    >>> derived_seed(0, "proposal", 1) == derived_seed(0, "proposal", 1)
    True

    Returns:
        A number in [0, 2³¹), the same in every process and on every machine.
    """
    text = "/".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1
