"""The blocks of a whole search space: what is measured once for all members, and sums over many members at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .blocks import HEAD, PlacedBlock, placed_blocks
from .space import SearchSpace, Value

BlockCost = Callable[[PlacedBlock], float]
Lookup = Callable[[NDArray[np.integer]], NDArray[np.float64]]


def unplaced(block: PlacedBlock) -> PlacedBlock:
    """The block without its stage's number, which costs nothing: equal blocks of different stages become one."""
    return block._replace(stage=0)


def space_blocks(space: SearchSpace, resolution: int | None = None, *, in_channels: int = 3) -> list[PlacedBlock]:
    """Every different block that a member of the space can have, stem and head included, in a fixed order.

    Args:
        space: Whose members.
        resolution: Input size, pixels per side; the space's own by default.
        in_channels: Channels of the images.
    """
    found = {
        unplaced(block)
        for number, _ in enumerate(space.stages, start=1)
        for _, blocks in _variants(space, number, resolution, in_channels)
        for block in blocks
    }
    fixed = placed_blocks(space.backbone, resolution, in_channels=in_channels)
    return sorted(found | {unplaced(fixed[0]), unplaced(fixed[-1])})


class BlockSums:
    """Sums a cost over the blocks of many members at once: a look-up and an addition for each stage.

    Widths and strides are fixed in a space, so a stage's blocks depend on that stage's choices alone. They are walked
    once, when this is made; a call takes well under a microsecond a member.
    """

    def __init__(
        self, space: SearchSpace, cost: BlockCost, resolution: int | None = None, *, in_channels: int = 3
    ) -> None:
        """
        Args:
            space: Whose members.
            cost: Of one block.
            resolution: Input size, pixels per side; the space's own by default.
            in_channels: Channels of the images.
        """
        fixed = placed_blocks(space.backbone, resolution, in_channels=in_channels)
        self._fixed = cost(fixed[0]) + cost(fixed[-1])
        self._stages = stage_lookups(space, lambda blocks: sum(map(cost, blocks)), resolution, in_channels=in_channels)

    def __call__(self, encoded: NDArray[np.integer]) -> NDArray[np.float64]:
        """One sum for each member, (N,).

        Args:
            encoded: Members as rows of choices, (N, number of choices), see `SearchSpace.encode`.
        """
        total = np.full(len(encoded), self._fixed, dtype=np.float64)
        for cost_of_stage in self._stages:
            total += cost_of_stage(encoded)
        return total


def stage_lookups(
    space: SearchSpace,
    value: Callable[[Sequence[PlacedBlock]], float | Sequence[float]],
    resolution: int | None = None,
    *,
    in_channels: int = 3,
) -> list[Lookup]:
    """For each stage, what follows from its blocks: encoded members (N, number of choices) → (N,) or (N, figures).

    Args:
        space: Whose members.
        value: One figure of a stage's blocks, or several.
        resolution: Input size, pixels per side; the space's own by default.
        in_channels: Channels of the images.
    """
    return [_lookup(space, number, value, resolution, in_channels) for number, _ in enumerate(space.stages, start=1)]


def _lookup(
    space: SearchSpace,
    number: int,
    value: Callable[[Sequence[PlacedBlock]], float | Sequence[float]],
    resolution: int | None,
    in_channels: int,
) -> Lookup:
    columns = stage_columns(space, number)
    places, figures = zip(
        *((place, value(blocks)) for place, blocks in _variants(space, number, resolution, in_channels)), strict=True
    )
    grid = np.array(figures, dtype=np.float64)
    sizes = [last + 1 for last in places[-1]]  # places are in order
    table = grid.reshape((*sizes, *grid.shape[1:]))
    # A stage without choices has one entry for all.
    return lambda encoded: np.broadcast_to(
        table[tuple(encoded[:, column] for column in columns)], (len(encoded), *grid.shape[1:])
    )


def stage_columns(space: SearchSpace, number: int) -> list[int]:
    """Columns of a stage's choices in encoded members; stages count from 1."""
    return [column for column, name in enumerate(space.choices) if name.startswith(f"stage{number}_")]


def _variants(
    space: SearchSpace, number: int, resolution: int | None, in_channels: int
) -> Iterator[tuple[tuple[int, ...], list[PlacedBlock]]]:
    """Each combination of a stage's choices: its place in their grid, and the stage's blocks."""
    choices = {name: values for name, values in space.choices.items() if name.startswith(f"stage{number}_")}
    params: dict[str, Value] = space.to_params(space.backbone)
    for place in product(*(range(len(values)) for values in choices.values())):
        chosen: Sequence[Value] = [values[i] for values, i in zip(choices.values(), place, strict=True)]
        member = space.from_params(params | dict(zip(choices, chosen, strict=True)))
        # A stage's blocks follow from the stages before it, whatever comes after.
        member = replace(member, stages=member.stages[:number])
        blocks = placed_blocks(member, resolution, in_channels=in_channels)
        yield place, [block for block in blocks if block.stage == number and block.kind != HEAD]
