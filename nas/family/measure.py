"""The members of a family, timed for real on a device of this machine. Imports torch."""

from collections.abc import Callable
from dataclasses import replace

from proxies.device import Device
from proxies.infeasible import InfeasibleError
from proxies.step_time import StepTime, StepTimeSetting
from proxies.step_time_measurement import choose_mode, measure_step_time
from proxies.training.config import TrainConfig

from .members import Family, Member, StepTimeFigure
from .source import Source

TimeMember = Callable[[Member, float | None], StepTime]
"""From a member, and the seconds that a step of the reference stands for where they are known."""


def measure_family(
    family: Family, source: Source, device: Device, *, budget_s: float, on_progress: Callable[[str], None]
) -> tuple[Family, list[str]]:
    """Time a training step of each member at its own size, all in one mode of execution.

    Args:
        family: Whose members are timed.
        source: The step: batch, classes, optimizer, and the mode where step times were predicted for this very device.
        device: Where.
        budget_s: Seconds for each member.
        on_progress: Called with what is being done.

    Returns:
        The family with its measurements, and why members have none.
    """
    work, identity = source.workload, device.identity()
    table = next(
        (each for each in source.tables if replace(identity, threads=each.device.threads) == each.device), None
    )
    # What was predicted for so many threads is measured with as many.
    identity = table.device if table else identity
    setting = StepTimeSetting(batch_size=work.batch_size, budget_s=budget_s, threads=identity.threads)
    train = TrainConfig(optimizer=work.optimizer)
    mode, canary_s = work.mode, table.canary_s if table else None
    if table is None:
        on_progress("finding the fastest correct execution mode")
        mode = choose_mode(
            source.network, setting=setting, train=train, device=device,
            num_classes=work.num_classes, in_channels=work.in_channels,
        )  # fmt: skip

    def time_member(member: Member, reference_s: float | None) -> StepTime:
        return measure_step_time(
            member.parsed(),
            reference_s=reference_s,
            setting=setting,
            train=train,
            mode=mode,
            num_classes=work.num_classes,
            in_channels=work.in_channels,
            device=device,
            on_visit=lambda so_far: on_progress(
                f"{member.name}: ± {so_far.relative_half_width:.1%} after {len(so_far.visits)} visits"
            ),
        )

    setting_of = replace(family.setting, mode=str(mode), measured_on=str(identity))
    return with_measurements(replace(family, setting=setting_of), time_member, on_progress, canary_s)


def with_measurements(
    family: Family, time_member: TimeMember, on_progress: Callable[[str], None], reference_s: float | None = None
) -> tuple[Family, list[str]]:
    """The family with what timing each member shows, and why members have no measurement.

    All are related to one reference, so that a machine's mood at one member's turn is none of its own.
    """
    members, problems = [], []
    for member in family.members:
        on_progress(f"timing {member.name}")
        try:
            measured = time_member(member, reference_s)
        except InfeasibleError as error:
            problems.append(f"{member.name}: {error.reason}")
            members.append(member)
            continue
        reference_s = measured.reference_s
        figure = StepTimeFigure(
            seconds=measured.median_s, relative_error=measured.relative_standard_error, verdict=measured.verdict
        )
        members.append(replace(member, measured=figure))
    return replace(family, members=tuple(members)), problems
