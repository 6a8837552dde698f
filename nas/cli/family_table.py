"""What ``nas scale`` prints of a family, as Rich tables."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..family.comparison import family_notes, growth_name, stage_growth, step_time_ratio
from ..family.members import Family, Fit, Member, StepTimeFigure
from ..quantities import count, gibibytes, milliseconds, percent, reward_text
from .tables import FoldedArchitecture, plain_table

_NONE = "–"


def family_table(family: Family) -> RenderableType:
    """Costs and settings of the members, their stages side by side, their architectures, and notes."""
    parts: list[RenderableType] = [_costs(family), _stages(family), _architectures(family)]
    if family.fit is not None:
        parts.append(_fit(family.fit))
    notes = [Text(note, style="dim") for note in family_notes(family)]
    return Group(*(piece for part in parts for piece in (part, Text())), *notes)


def _costs(family: Family) -> Table:
    table, first = plain_table(), family.members[0]
    table.add_column("")
    for member in family.members:
        table.add_column(member.name, justify="right")
    columns = [_figures(member, first) for member in family.members]
    for name in columns[0]:
        cells = [column[name] for column in columns]
        if any(cell != _NONE for cell in cells):
            table.add_row(name, *cells)
    return table


def _figures(member: Member, first: Member) -> dict[str, str]:
    strength = member.regularization
    return {
        "parameters": count(member.params),
        "MACs": count(member.macs),
        "step time, predicted": _step_time(member.predicted),
        "step time, measured": _step_time(member.measured),
        f"step time ÷ {first.name}'s": _ratio(step_time_ratio(member, first)),
        "memory": gibibytes(member.peak_memory_bytes),
        "trained at": f"{member.parsed().resolution} px",
        "tested at": f"{member.test_size} px{'*' * member.is_capped}",
        "RandAugment": _range(strength.randaugment),
        "mixup α": _range(strength.mixup),
        "dropout": _range(strength.dropout),
    }


def _stages(family: Family) -> Table:
    table = plain_table()
    table.add_column("stage")
    table.add_column("block")
    for member in family.members:
        table.add_column(member.name, justify="right")
    for row in stage_growth(family.members):
        table.add_row(row.stage, row.block, *(cell or _NONE for cell in row.cells))
    return table


def _architectures(family: Family) -> Table:
    table = Table.grid(padding=(0, 2))
    for member in family.members:
        table.add_row(Text(member.name, style="bold"), FoldedArchitecture(member.architecture))
    return table


def _fit(fit: Fit) -> Table:
    table = plain_table()
    table.add_column("α, β, γ")
    for name in ("A", "S", "P", "MACs", "reward"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in fit.entries:
        seconds = entry.measured_step_time_s
        table.add_row(
            growth_name(entry.coefficients),
            percent(entry.accuracy, entry.accuracy_se),
            milliseconds(seconds) if seconds else f"≈ {milliseconds(entry.predicted_step_time_s)}",
            count(entry.params),
            count(entry.macs),
            reward_text(entry.reward, entry.reward_se),
        )
    return table


def _step_time(figure: StepTimeFigure | None) -> str:
    return milliseconds(figure.seconds, figure.seconds * figure.relative_error) if figure else _NONE


def _ratio(ratio: float | None) -> str:
    return _NONE if ratio is None else f"{ratio:.2f}"


def _range(values: tuple[float, float]) -> str:
    return "{:g} → {:.3g}".format(*values)
