"""The benchmark's tables, as text: for the console and for the report."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table

from nas.report.markup import Markup, element, join, table

from .games import REWARD
from .standings import (
    THRESHOLDS,
    Contest,
    Estimate,
    Interval,
    Standing,
    at,
    estimate,
    paired_difference,
    speed_up,
    trainings_to,
)

Volumes = Mapping[tuple[str, str], float]
"""Hypervolumes of long runs, by bed and objectives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A table of texts; the first column is the sampler."""

    title: str
    headers: Sequence[str]
    """Of the columns after the first."""
    rows: Mapping[str, Sequence[str]]
    """By sampler."""

    def on_console(self) -> RenderableType:
        """For a terminal."""
        drawn = Table()
        drawn.add_column("sampler")
        for header in self.headers:
            drawn.add_column(header, justify="right")
        for sampler, cells in self.rows.items():
            drawn.add_row(sampler, *cells)
        return Group("", self.title, drawn)

    def on_page(self) -> Markup:
        """For the report."""
        rows = [[sampler, *cells] for sampler, cells in self.rows.items()]
        numeric = range(1, len(self.headers) + 1)
        return join([element("p", self.title), table(["sampler", *self.headers], rows, numeric=numeric)])


def sheets_of(contest: Contest, volumes: Volumes) -> Iterator[Sheet]:
    """The tables of one contest.

    Args:
        contest: Bed, rules and games.
        volumes: Of long runs, in Pareto contests.
    """
    if contest.objectives != REWARD:
        yield _volumes(contest, volumes[contest.bed, contest.objectives])
        return
    yield _gaps(contest)
    if contest.noise:
        yield _noisy(contest)
    if contest.reference is not None and len(contest.standings) > 1:
        yield _differences(contest, contest.reference)


def describe(contest: Contest) -> str:
    """Bed and rules in a few words."""
    parts = [f"bed {contest.bed}"]
    parts += [] if contest.objectives == REWARD else [contest.objectives.replace("+", ", ").replace("_", " ")]
    parts += ["seed noise"] * contest.noise
    parts += [f"{contest.batch} at a time"] * (contest.batch > 1)
    seeds = max(len(standing.seeds) for standing in contest.standings)
    return " · ".join([*parts, f"{seeds} seed{'s' * (seeds > 1)}"])


def _gaps(contest: Contest) -> Sheet:
    headers = [f"@{budget}" for budget in contest.budgets]
    headers += [f"trainings to {100 * threshold:g} %" for threshold in THRESHOLDS]

    def cells(standing: Standing) -> list[str]:
        gaps = [percent(estimate(at(standing.gap, budget))) for budget in contest.budgets]
        soon = [count(trainings_to(standing.gap, threshold), standing) for threshold in THRESHOLDS]
        return [*gaps, *soon, f"{standing.seconds:.3f}"]

    title = f"Gap of the best trained to the best there is, %, mean ± standard error: {describe(contest)}"
    return Sheet(title=title, headers=[*headers, "s a proposal"], rows=_by_sampler(contest, cells))


def _noisy(contest: Contest) -> Sheet:
    headers = [f"{kind} @{n}" for n in contest.budgets for kind in ("best observed", contest.final_choice)]

    def cells(standing: Standing) -> list[str]:
        curves = (standing.observed, standing.chosen)
        return [percent(estimate(at(each, budget))) for budget in contest.budgets for each in curves]

    title = f"True gap of what a search takes for the best, %, retrainings counted: {describe(contest)}"
    return Sheet(title=title, headers=headers, rows=_by_sampler(contest, cells))


def _differences(contest: Contest, reference: Standing) -> Sheet:
    def cells(standing: Standing) -> list[str]:
        return [points(paired_difference(standing, reference, budget)) for budget in contest.budgets]

    title = f"Gap minus that of {reference.sampler} on the same seeds, points, [95 %]: {describe(contest)}"
    headers = [f"@{budget}" for budget in contest.budgets]
    return Sheet(title=title, headers=headers, rows=_by_sampler(contest, cells, but=reference))


def _volumes(contest: Contest, long_run: float) -> Sheet:
    reference = contest.reference
    headers = [f"@{budget}" for budget in contest.budgets]
    if reference is not None:
        headers += [f"{reference.sampler} needs × fewer than @{budget}" for budget in contest.budgets]

    def cells(standing: Standing) -> list[str]:
        volumes = [percent(estimate(at(standing.volume, budget) / long_run), 1) for budget in contest.budgets]
        if reference is None or standing is reference:
            faster = [""] * (len(headers) - len(volumes))
        else:
            faster = [times(speed_up(standing, reference, budget)) for budget in contest.budgets]
        return [*volumes, *faster, f"{standing.seconds:.3f}"]

    title = f"Hypervolume, % of a long run's, mean ± standard error: {describe(contest)}"
    return Sheet(title=title, headers=[*headers, "s a proposal"], rows=_by_sampler(contest, cells))


def _by_sampler(
    contest: Contest, cells: Callable[[Standing], list[str]], but: Standing | None = None
) -> dict[str, list[str]]:
    return {standing.sampler: cells(standing) for standing in contest.standings if standing is not but}


def percent(value: Estimate | None, digits: int = 2) -> str:
    """A fraction as percent with its standard error."""
    if value is None:
        return "–"
    error = "" if math.isnan(value.se) else f" ± {100 * value.se:.{digits}f}"
    return f"{100 * value.mean:.{digits}f}{error}"


def points(value: Interval | None) -> str:
    """A difference of fractions in points with its interval."""
    if value is None:
        return "–"
    return f"{100 * value.mean:+.2f} [{100 * value.low:+.2f}, {100 * value.high:+.2f}]"


def times(value: Interval | None) -> str:
    """A ratio with its interval."""
    return "–" if value is None else f"{value.mean:.1f} [{value.low:.1f}, {value.high:.1f}]"


def count(trainings: float, standing: Standing) -> str:
    """A median number of trainings; more than all where half of the games never got there."""
    return f"{trainings:.0f}" if math.isfinite(trainings) else f"> {standing.trainings}"
