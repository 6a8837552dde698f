"""The benchmark's tables of zero-cost scores."""

from collections.abc import Sequence

import torch
from rich.console import Console
from rich.progress import track

from experiments.accel_nasbench.beds import Benchmark
from nas.audit.advice import verdict
from nas.audit.analysis import analyse
from nas.audit.run import read_audit
from nas.cli.audit_tables import proxies_table
from proxies.device import find_device

from .accel_nasbench_scores import ScoreSetting, drawn_candidates, score_rows
from .audited_scores import audited_candidates, score_audit
from .benchmark import Plan
from .score_games import game_table, play_games
from .score_players import score_players
from .score_ranks import rank_table, score_ranks
from .scored import Candidate, ScoreTable

BEDS = ("network", "trees", "rows")
SEEDS, TRIALS = 12, 100
"""Searches of each player on each bed, and trainings of each."""
_FEWEST = 5
"""Architectures, below which ranks say nothing."""


def print_zero_cost(plan: Plan, console: Console) -> None:
    """How well each score ranks the accuracies of Accel-NASBench."""
    table = _scored_rows(plan)
    title = f"{len(table.accuracy)} architectures of Accel-NASBench, {_setting(plan)}"
    console.print(rank_table(list(score_ranks(table)), title))


def print_zero_cost_search(plan: Plan, console: Console) -> None:
    """Whether scores help the known-cost sampler."""
    table, benchmark = _scored_rows(plan), Benchmark(plan.data)
    players, seeds = score_players(table, plan.scores), plan.seeds or SEEDS
    games = play_games(
        [benchmark.bed(name) for name in BEDS],
        players,
        scored=len(table.accuracy),
        seeds=seeds,
        trials=plan.trials or TRIALS,
        path=plan.out / "zero_cost_search.csv",
    )
    total = seeds * len(BEDS) * len(players)
    played = list(track(games, "searches", total=total, console=console, transient=True))
    for bed in BEDS:
        console.print(game_table(played, bed))


def print_audit(plan: Plan, console: Console) -> None:
    """An audit as it is by now, and how well scores rank its architectures."""
    assert plan.audit is not None  # make_plan's rule
    results = read_audit(plan.audit)
    analysis = analyse(results)
    console.print(proxies_table(analysis))
    console.print(verdict(analysis), highlight=False)
    if len(audited_candidates(results)) < _FEWEST:
        return
    torch.set_num_threads(1)
    table = score_audit(
        results, plan.out / "audit_scores.csv", num_images=plan.images, seed=0, device=find_device(plan.device)
    )
    title = f"{len(table.accuracy)} architectures of the audit, scored with {plan.images} of its images"
    console.print(rank_table(list(score_ranks(table)), title))


def _setting(plan: Plan) -> ScoreSetting:
    return ScoreSetting(resolution=plan.resolution, num_images=plan.images)


def _scored_rows(plan: Plan) -> ScoreTable:
    torch.set_num_threads(1)
    candidates: Sequence[Candidate] = drawn_candidates(plan.data, plan.architectures)
    watched = track(candidates, "scoring", transient=True)
    return score_rows(watched, _setting(plan), plan.out / "zero_cost.csv", find_device(plan.device))
