"""A family in a report: how it grows stage by stage, what each member costs, and how it would be regularised."""

from ..family.comparison import family_notes, growth_name, stage_growth, step_time_ratio
from ..family.members import Family, Member, StepTimeFigure
from ..quantities import count, gibibytes, milliseconds, percent, reward_text
from .figure import Figure, Panel, axis, legend_below
from .markup import Markup, breakable, element, join, table
from .ribbon import ribbon, ribbon_legend

_COSTS = ("parameters", "MACs", "step time", "memory")
_NONE = "–"


def family_section(family: Family | str) -> Markup:
    """The members drawn to one scale, their costs, stages, settings and texts; or why the family cannot be read."""
    if isinstance(family, str):
        return element("section", element("h2", "The family"), element("p", f"{family}."), id="family")
    return element(
        "section",
        element("h2", "The family"),
        _drawing(family),
        *(element("p", f"{note[0].upper()}{note[1:]}.") for note in family_notes(family)),
        element("h3", "What each member costs"),
        _costs(family),
        element("h3", "Layers × channels, stage by stage"),
        _stages(family),
        element("h3", "Regularisation, from the first stage of progressive learning to the last"),
        _regularization(family),
        *_fit(family),
        element("h3", "Architectures"),
        *(_text(member) for member in family.members),
        id="family",
    )


def family_figure(family: Family) -> Figure:
    """The costs of every member as multiples of the first one's."""
    first = family.members[0]
    traces = []
    for place, name in enumerate(_COSTS):
        ratios = [_cost_ratio(member, first, name) for member in family.members]
        if None in ratios:
            continue
        traces.append(
            {
                "type": "bar",
                "name": name,
                "x": [member.name for member in family.members],
                "y": ratios,
                "marker": {"color": f"@area{place}"},
                "hovertemplate": f"{name}: %{{y:.2f}} ×<extra>%{{x}}</extra>",
            }
        )
    layout = {
        "barmode": "group",
        "xaxis": axis("member", type="category"),
        "yaxis": axis(f"multiple of {first.name}", rangemode="tozero"),
        "legend": legend_below(),
    }
    return Figure(
        name="family-costs",
        title="How costs grow",
        caption=f"Parameters, multiply-adds, step time and peak memory of each member, ÷ those of {first.name}.",
        panels=[Panel(traces=traces, layout=layout)],
        wide=True,
    )


def _drawing(family: Family) -> Markup:
    networks = [member.parsed() for member in family.members]
    rows = [
        element(
            "div",
            element("strong", member.name),
            ribbon(network, beside=networks),
            class_="member",
        )
        for member, network in zip(family.members, networks, strict=True)
    ]
    return element("div", *rows, ribbon_legend(), class_="hero")


def _costs(family: Family) -> Markup:
    rows = [_figures(member, family.members[0]) for member in family.members]
    names = [name for name in rows[0] if any(row[name] != _NONE for row in rows)]
    cells = [
        [element("strong", member.name), *(row[name] for name in names)]
        for member, row in zip(family.members, rows, strict=True)
    ]
    return table(["", *names], cells, numeric=range(1, len(names) + 1))


def _figures(member: Member, first: Member) -> dict[str, str]:
    ratio = step_time_ratio(member, first)
    clipped = f" (computed: {member.computed_test_size})" if member.is_capped else ""
    return {
        "parameters": count(member.params),
        "MACs": count(member.macs),
        "predicted S": _step_time(member.predicted),
        "measured S": _step_time(member.measured),
        f"S ÷ that of {first.name}": _NONE if ratio is None else f"{ratio:.2f}",
        "memory": gibibytes(member.peak_memory_bytes),
        "trained at": f"{member.parsed().resolution}",
        "tested at": f"{member.test_size}{clipped}",
    }


def _step_time(figure: StepTimeFigure | None) -> str:
    return milliseconds(figure.seconds, figure.seconds * figure.relative_error) if figure else _NONE


def _stages(family: Family) -> Markup:
    headers = ["stage", "block", *(member.name for member in family.members)]
    rows = [[row.stage, row.block, *(cell or _NONE for cell in row.cells)] for row in stage_growth(family.members)]
    return table(headers, rows, numeric=range(2, len(headers)))


def _regularization(family: Family) -> Markup:
    headers = ["", "image size", "RandAugment", "mixup α", "dropout"]
    rows = []
    for member in family.members:
        strength = member.regularization
        ranges = (strength.image_size, strength.randaugment, strength.mixup, strength.dropout)
        cells = [f"{first:g} → {last:g}" for first, last in ranges]
        rows.append([element("strong", member.name), *cells])
    return table(headers, rows, numeric=range(1, len(headers)))


def _fit(family: Family) -> list[Markup]:
    fit = family.fit
    if fit is None:
        return []
    rows = [
        [
            growth_name(entry.coefficients),
            percent(entry.accuracy, entry.accuracy_se),
            milliseconds(entry.predicted_step_time_s),
            milliseconds(entry.measured_step_time_s) if entry.measured_step_time_s else _NONE,
            count(entry.params),
            count(entry.macs),
            reward_text(entry.reward, entry.reward_se),
            element("code", breakable(entry.architecture)),
        ]
        for entry in fit.entries
    ]
    headers = ["α, β, γ", "A", "predicted S", "measured S", "P", "MACs", "reward", "network"]
    return [element("h3", "Directions of growth that were trained"), table(headers, rows, numeric=range(1, 7))]


def _text(member: Member) -> Markup:
    name = f"family-{member.name}"
    return element(
        "div",
        join([element("strong", member.name), element("code", breakable(member.architecture), id=name)]),
        element("button", "Copy", type="button", class_="copy", data_copies=name),
        class_="text-form",
    )


def _cost_ratio(member: Member, first: Member, name: str) -> float | None:
    match name:
        case "parameters":
            return member.params / first.params
        case "MACs":
            return member.macs / first.macs
        case "step time":
            return step_time_ratio(member, first)
    return member.peak_memory_bytes / first.peak_memory_bytes
