"""What was asked for, checked."""

from proxies.execution import PLAIN, ExecutionMode, parse_mode

PEERS = ("plain", "timm")


def peers_of(text: str) -> tuple[str, ...]:
    """The loops to be beside.

    Raises:
        ValueError: If one is unknown.
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in PEERS:
            raise ValueError(f"peers must be some of {', '.join(PEERS)}, got {name!r}")
    return names


def mode_of(text: str) -> ExecutionMode:
    """An execution mode that timm's loop has, too.

    Raises:
        ValueError: If the mode is none, or of ours alone.
    """
    mode = PLAIN if text == "plain" else parse_mode(text)
    if mode.small_maps or mode.compile:
        raise ValueError(f"mode must be a number format and a layout, as both loops have them, got {text!r}")
    return mode
