"""A drawing of an architecture: one bar for each layer, so that shapes can be compared at a glance."""

from collections.abc import Sequence

from search_spaces.architecture import FUSED_MBCONV, Architecture, Stage

from .markup import Markup, element

_BAR, _GAP, _STAGE_GAP = 10, 2, 8
_HEIGHT = 56
# The least that a bar shows of the height, and of its colour, so that nothing vanishes.
_LEAST_HEIGHT, _LEAST_SHADE = 0.22, 0.45
_FULL_EXPANSION = 6
_LARGE_KERNEL = 5


def ribbon(architecture: Architecture, *, small: bool = False, beside: Sequence[Architecture] = ()) -> Markup:
    """Draw the stages from the input on the left to the head on the right.

    The colour says which block, the shade its expansion, the height its channels (their square root, so that areas do
    not mislead), a dot a kernel of 5 or more.

    Args:
        architecture: What to draw.
        small: One bar for each stage, as wide as its layers, without dots: for the rows of a table.
        beside: Networks that it is compared with, drawn to the same scale.
    """
    alike = [architecture, *beside]
    widest = max(stage.out_channels for network in alike for stage in network.stages)
    longest = max(map(_length, alike))
    groups, place = [], 0
    for number, stage in enumerate(architecture.stages, start=1):
        width = stage.num_repeats * (_BAR + _GAP) - _GAP
        groups.append(_stage(stage, number, place, (stage.out_channels / widest) ** 0.5, small=small))
        place += width + _STAGE_GAP
    return element(
        "svg",
        *groups,
        class_="ribbon small" if small else "ribbon",
        viewBox=f"0 0 {longest} {_HEIGHT}",
        preserveAspectRatio="none" if small else "xMinYMax meet",
        # Few layers need not fill the page.
        style=f"max-width:{2 * longest}px" if beside else None,
        role="img",
        aria_label=f"{len(architecture.stages)} stages: " + ", ".join(map(_words, architecture.stages)),
    )


def _length(architecture: Architecture) -> int:
    """From the first bar to the last."""
    layers = sum(stage.num_repeats for stage in architecture.stages)
    gaps = len(architecture.stages) * (_STAGE_GAP - _GAP) - _STAGE_GAP
    return layers * (_BAR + _GAP) + gaps


def ribbon_legend() -> Markup:
    """What the drawing means, in one line."""
    return element(
        "p",
        element("span", class_="swatch fused"),
        "Fused-MBConv ",
        element("span", class_="swatch mbconv"),
        "MBConv · one bar a layer · height: channels · shade: expansion · dot: kernel 5",
        class_="legend",
    )


def _stage(stage: Stage, number: int, left: int, tallness: float, *, small: bool) -> Markup:
    height = _HEIGHT * (_LEAST_HEIGHT + (1 - _LEAST_HEIGHT) * tallness)
    shade = _LEAST_SHADE + (1 - _LEAST_SHADE) * min(stage.expand_ratio / _FULL_EXPANSION, 1)
    width = stage.num_repeats * (_BAR + _GAP) - _GAP
    starts = [left] if small else [left + layer * (_BAR + _GAP) for layer in range(stage.num_repeats)]
    bars = [
        element(
            "rect",
            x=start,
            y=f"{_HEIGHT - height:.1f}",
            width=width if small else _BAR,
            height=f"{height:.1f}",
            rx=None if small else 2,
            opacity=f"{shade:.2f}",
        )
        for start in starts
    ]
    has_dots = stage.kernel_size >= _LARGE_KERNEL and not small
    dots = [element("circle", cx=start + _BAR / 2, cy=_HEIGHT - 6, r=2) for start in starts if has_dots]
    name = "fused" if stage.block == FUSED_MBCONV else "mbconv"
    return element("g", element("title", f"stage {number}: {_words(stage)}"), *bars, *dots, class_=name)


def _words(stage: Stage) -> str:
    return f"{stage.block_name}, {stage.num_repeats} × {stage.out_channels} channels"
