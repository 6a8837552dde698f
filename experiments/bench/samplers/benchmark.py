"""From what the user asked for to games, tables and a report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.accel_nasbench.bed import SEED_NOISE
from experiments.accel_nasbench.beds import BED_NAMES
from experiments.accel_nasbench.cache import cache_folder, key_of
from nas.cli.console import table_console
from nas.run_directory import write_whole
from nas.samplers import SAMPLER_NAMES
from search_spaces.messages import did_you_mean

from .final_choice import FINAL_CHOICES
from .games import REWARD, BedSource, Match, load_bed, load_benchmark, play_all
from .games_file import GamesFile
from .pareto import WORST_ACCURACY, WORST_PARAMS, WORST_STEP_TIME, long_run_volume
from .players import require_player
from .report import render
from .sheets import Volumes, sheets_of
from .standings import Contest, contests

OBJECTIVES = ("accuracy+step_time", "accuracy+step_time+params")
"""Of Pareto searches."""
PARETO_SAMPLERS = ("known-cost", "nsga2", "tpe")
SLOW_SAMPLERS = ("gp",)
"""A second and more for each proposal: they play if they are named."""
_WIDTH = 160
"""Of tables where they go to a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is to be played."""

    source: BedSource
    matches: tuple[Match, ...]
    trials: int
    jobs: int
    out: Path

    @property
    def beds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(match.bed for match in self.matches))


def make_plan(
    *,
    data: Path | None,
    run: Path | None,
    beds: Sequence[str],
    samplers: Sequence[str] | None,
    seeds: int,
    trials: int,
    noise: bool,
    final_choice: str,
    batch: int,
    pareto: bool,
    out: Path,
    jobs: int,
) -> Plan:
    """Check what the user asked for, and list the games; seeds come first, so that a part is worth having.

    Raises:
        ValueError: In one line, if a bed, a sampler or a rule is unknown, or data is missing.
    """
    source = BedSource(data=data, run=run)
    beds = tuple(dict.fromkeys([*map(_require_bed, beds), *([source.run_bed] if source.run_bed else [])]))
    usual = tuple(name for name in SAMPLER_NAMES if (name in PARETO_SAMPLERS if pareto else name not in SLOW_SAMPLERS))
    chosen = tuple(map(require_player, samplers)) if samplers else usual
    if final_choice not in FINAL_CHOICES:
        raise ValueError(f"unknown final choice {final_choice!r}; {did_you_mean(final_choice, list(FINAL_CHOICES))}")
    matches = tuple(
        Match(
            bed=bed, objectives=objectives, noise=noise, batch=batch, final_choice=final_choice, sampler=sampler,
            seed=seed,
        )
        for seed in range(seeds)
        for objectives in (OBJECTIVES if pareto else (REWARD,))
        for bed in beds
        for sampler in chosen
    )  # fmt: skip
    with Console(stderr=True).status("preparing the beds"):
        loaded = [load_bed(source, name) for name in beds]
    if pareto and (bare := [bed.name for bed in loaded if bed.pool is not None]):
        raise ValueError(f"Pareto searches need a bed with a surrogate, got {bare[0]!r}")
    return Plan(source=source, matches=matches, trials=trials, jobs=jobs, out=out)


def _require_bed(name: str) -> str:
    if name not in BED_NAMES:
        raise ValueError(f"no bed {name!r}; {did_you_mean(name, BED_NAMES)}")
    return name


def run_benchmark(plan: Plan) -> None:
    """Play what was not played yet; print tables, write the report."""
    console = table_console(_WIDTH)
    plan.out.mkdir(parents=True, exist_ok=True)
    file = GamesFile(plan.out / "samplers.csv")
    missing = file.missing(plan.matches, plan.trials)
    with _progress(console) as progress:
        task = progress.add_task("games", total=len(missing))
        for rows in play_all(plan.source, missing, plan.trials, min(plan.jobs, max(1, len(missing)))):
            file.append(rows)
            progress.advance(task)
    found = [contest for contest in contests(file.read()) if contest.bed in plan.beds]
    with Console(stderr=True).status("fronts of long runs"):
        volumes = _volumes(plan, found)
    for contest in found:
        for sheet in sheets_of(contest, volumes):
            console.print(sheet.on_console())
    notes = list(_notes(plan, found))
    for note in notes:
        console.print(note, highlight=False)
    report = plan.out / "report.html"
    write_whole(report, render(found, notes, volumes))
    console.print(f"{file.path} · {report}", highlight=False)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


def _volumes(plan: Plan, found: Sequence[Contest]) -> Volumes:
    """What Pareto games are measured against."""
    return {
        (contest.bed, contest.objectives): long_run_volume(
            load_bed(plan.source, contest.bed),
            tuple(contest.objectives.split("+")),
            cache_folder(),
            key_of(load_benchmark(plan.source.data).rows.digest),
        )
        for contest in found
        if contest.objectives != REWARD
    }


def _notes(plan: Plan, found: Sequence[Contest]) -> Iterator[str]:
    """What the beds are, and what they can tell apart."""
    yield (
        "Every game starts from the backbone, or from the row nearest to it where only rows can be trained; an "
        "architecture that is proposed again costs no training."
    )
    if set(plan.beds) & set(BED_NAMES):
        benchmark = load_benchmark(plan.source.data)
        tau, resolution = benchmark.surrogates.tau, benchmark.resolution()
        yield (
            f"Held-out Kendall τ: accuracy {tau['trees']:.3f} (trees) and {tau['networks']:.3f} (networks), training "
            f"time {tau['train_time']:.3f} (sums over stages; trees {tau['train_time_by_trees']:.3f}), RTX 3090 "
            f"inference {tau['rtx3090']:.3f}."
        )
        yield (
            f"Resolution: the best member of the network bed is {resolution['trees']:.2%} below the best on the trees "
            f"bed, and the other way round {resolution['network']:.2%}. Smaller gaps rank samplers on a given "
            "function; they do not say which architecture would win if it were trained."
        )
    if any(contest.noise for contest in found):
        yield f"Seed noise: accuracy with a standard deviation of {100 * SEED_NOISE:.2f} points for each training."
    if any(contest.objectives != REWARD for contest in found):
        yield (
            f"Hypervolume: in logarithms, from accuracy {WORST_ACCURACY:g}, step time {WORST_STEP_TIME:g} × and "
            f"parameters {WORST_PARAMS:g} × the backbone's."
        )
    for bed in plan.beds:
        found_bed = load_bed(plan.source, bed)
        yield f"Bed {bed}: {found_bed.title}; R* = {found_bed.optimum:.6f}."
