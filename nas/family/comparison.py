"""A family side by side: stage by stage, and in words what a person should know of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from search_spaces.architecture import Architecture
from search_spaces.scaling import Coefficients

from .members import Family, Member


@dataclass(frozen=True, slots=True, kw_only=True)
class StageGrowth:
    """One row of the comparison: what the members have at one place."""

    stage: str
    """ "stem", "1"…"n" or "head"."""
    block: str
    """As papers write it; of the first member that has the stage."""
    cells: tuple[str | None, ...]
    """Layers × channels for each member; None where it has no such stage."""


def stage_growth(members: Sequence[Member]) -> list[StageGrowth]:
    """Stem, stages and head of all members, in their order."""
    networks = [member.parsed() for member in members]
    most = max(len(network.stages) for network in networks)
    stem = StageGrowth(stage="stem", block="Conv k3", cells=tuple(str(network.stem_channels) for network in networks))
    head = StageGrowth(stage="head", block="Conv k1", cells=tuple(str(network.head_channels) for network in networks))
    return [stem, *(_row(networks, number) for number in range(1, most + 1)), head]


def step_time_ratio(member: Member, first: Member) -> float | None:
    """Step time ÷ the first one's, both measured or else both predicted: one of each would compare nothing."""
    for one, other in ((member.measured, first.measured), (member.predicted, first.predicted)):
        if one and other:
            return one.seconds / other.seconds
    return None


def family_notes(family: Family) -> list[str]:
    """How the members came about, and what was changed on the way."""
    grown = [member.name for member in family.members if member.late_growth]
    capped = [
        f"{member.name} {member.computed_test_size} → {member.test_size}"
        for member in family.members
        if member.is_capped
    ]
    lines = [f"the network counts as {family.stands_at} of {family.ladder}; {_growth(family)}"]
    if grown:
        lines.append(
            f"{', '.join(grown)}: a new last stage, and one base layer more before it (then depths are multiplied)"
        )
    if capped:
        lines.append(f"the cap of {family.max_size} pixels clips the inference size: {', '.join(capped)}")
    return [*lines, *_fit(family), _costs(family)]


def _row(networks: Sequence[Architecture], number: int) -> StageGrowth:
    stages = [network.stages[number - 1] if number <= len(network.stages) else None for network in networks]
    first = next(stage for stage in stages if stage is not None)
    return StageGrowth(
        stage=str(number),
        block=first.block_name,
        cells=tuple(f"{stage.num_repeats} × {stage.out_channels}" if stage else None for stage in stages),
    )


def _growth(family: Family) -> str:
    found = family.coefficients
    if found is None:
        return "members grow along that ladder"
    return (
        f"each step φ multiplies depth by {found.alpha:g}, width by {found.beta:g} and size by {found.gamma:g} "
        f"(α·β²·γ² = {found.cost:.2f})"
    )


def _fit(family: Family) -> list[str]:
    fit = family.fit
    if fit is None:
        return []
    lines = [
        f"of {fit.num_candidates} networks that growth could lead to, {len(fit.entries)} were trained; "
        + ("the best is used" if fit.is_decided else "none is better than the ladder's beyond doubt, so that is used")
    ]
    return [*lines, *(f"not judged: {reason}" for reason in fit.failed)]


def growth_name(coefficients: Coefficients | None) -> str:
    """α, β, γ as people write them, or the ladder."""
    if coefficients is None:
        return "ladder"
    return f"{coefficients.alpha:g}, {coefficients.beta:g}, {coefficients.gamma:g}"


def _costs(family: Family) -> str:
    setting = family.setting
    step = f"a training step of {setting.batch_size} images, {setting.optimizer}, {setting.mode}"
    parts = [f"memory is predicted for {step}"]
    if setting.predicted_for:
        parts.append(f"step time is predicted for {setting.predicted_for}")
    if setting.measured_on and any(member.measured for member in family.members):
        parts.append(f"step time was measured on {setting.measured_on}")
    classes = f"{setting.num_classes} classes, {setting.in_channels} image channels"
    return "; ".join([*parts, classes])
