"""What a family is made of: a network, its space's scale, and the step whose costs count."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from proxies.costs import CostModel, Costs, PredictOne, mean_step_time
from proxies.execution import PLAIN
from proxies.step_time_interpolation import StepTimeInterpolation
from proxies.step_time_table import StepTimeTable
from proxies.workload import Workload
from search_spaces.architecture import Architecture, parse
from search_spaces.ladders import EFFICIENTNET_V2

from ..pricing import target_workload
from ..run import Run
from .members import Setting

CostsOf = Callable[[Architecture], Costs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A network to scale, with the training step of its family."""

    network: Architecture
    workload: Workload
    """At each member's own size."""
    scale: tuple[float, float] | None = None
    """Width and depth by which its space multiplies the base, where it is known."""
    device_kind: str = "cpu"
    tables: tuple[StepTimeTable, ...] = ()
    """That step times are predicted from."""
    weights: tuple[float, ...] = (1.0,)
    """Of the tables' devices, in a geometric mean."""

    def setting(self) -> Setting:
        """What the figures of the family are told with."""
        work = self.workload
        return Setting(
            num_classes=work.num_classes,
            in_channels=work.in_channels,
            batch_size=work.batch_size,
            mode=str(work.mode),
            optimizer=work.optimizer,
            predicted_for="; ".join(str(table.device) for table in self.tables) or None,
        )

    def costs(self) -> CostsOf:
        """Costs of any architecture at its own size, step times interpolated between the tables' blocks."""
        model = CostModel(workload=self.workload, device_kind=self.device_kind)
        if not self.tables:
            return model
        step_times = mean_step_time([_interpolated(table) for table in self.tables], self.weights, self.network)

        def costs(architecture: Architecture) -> Costs:
            seconds, error = step_times(architecture)
            return replace(model(architecture), step_time_s=seconds, step_time_rse=error)

        return costs


def source_of_table(network: Architecture, table: StepTimeTable) -> Source:
    """A network, and the step that a table was calibrated for.

    Raises:
        ValueError: If the table tells of inference.
    """
    if table.workload.phase != "training":
        raise ValueError(
            f"a family needs step times of training, the table of {table.device} has {table.workload.phase}"
        )
    return Source(
        network=network,
        workload=replace(table.workload, resolution=None),
        device_kind=table.device.kind,
        tables=(table,),
    )


def source_of_network(network: Architecture, *, num_classes: int, in_channels: int, batch_size: int) -> Source:
    """A network, and a step of plain float32."""
    workload = Workload(batch_size=batch_size, mode=PLAIN, num_classes=num_classes, in_channels=in_channels)
    return Source(network=network, workload=workload)


def source_of_run(run: Run) -> Source:
    """The best architecture of a search, and its target training.

    Raises:
        ValueError: If nothing has been judged yet.
    """
    entries = run.leaderboard()
    if not entries:
        raise ValueError(f"no candidate has been judged yet in {run.directory.path}")
    workload = target_workload(run.config, run.preparation)
    network = parse(entries[0].architecture)
    return Source(
        # S was of this size, whatever size the space names.
        network=replace(network, resolution=workload.resolution_of(network)),
        scale=_scale_of(run.config.space),
        workload=replace(workload, resolution=None),
        device_kind=run.preparation.target_kind,
        tables=run.tables,
        weights=tuple(target.weight for target in run.config.step_time.tables) or (1.0,),
    )


def _scale_of(space: dict[str, object]) -> tuple[float, float] | None:
    match space:
        case {"name": "efficientnetv2", "scale": [int() | float() as width, int() | float() as depth]}:
            return float(width), float(depth)
        case {"name": "efficientnetv2", "scale": str() as name}:
            rung = EFFICIENTNET_V2.rung(name)
            return rung.width, rung.depth
    return None


def _interpolated(table: StepTimeTable) -> PredictOne:
    """Of architectures of any widths, each at its own size."""
    interpolation = StepTimeInterpolation(table)
    return lambda architecture: interpolation(architecture, architecture.resolution)
