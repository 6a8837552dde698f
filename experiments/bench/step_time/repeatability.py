"""Does a measurement repeat? The coefficient of variation of each protocol over repetitions in fresh processes."""

import itertools
import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from rich.progress import Progress
from rich.table import Table

from proxies.step_time import NUM_PAIRS, Visit

from .visits import estimate, in_fresh_process, neighbour, visit_mixes

PEER_PAIRS = 15
"""Of the protocol that ours is compared with: two canaries in turn, 15 pairs, the C library's own allocator."""
_CORE = 0

Visits = list[dict[str, Visit]]
Estimate = Callable[[Visit], float]

_PROTOCOLS: dict[str, tuple[bool, Estimate]] = {
    f"mean of {NUM_PAIRS} steps": (False, lambda visit: estimate(visit, NUM_PAIRS).mean),
    f"median of {NUM_PAIRS} steps": (False, lambda visit: estimate(visit, NUM_PAIRS).median),
    f"minimum of {NUM_PAIRS} steps": (False, lambda visit: estimate(visit, NUM_PAIRS).minimum),
    f"canary, {PEER_PAIRS} pairs": (False, lambda visit: estimate(visit, PEER_PAIRS).ratio),
    f"canary, {NUM_PAIRS} pairs": (False, lambda visit: estimate(visit, NUM_PAIRS).ratio),
    f"ours, {PEER_PAIRS} pairs": (True, lambda visit: estimate(visit, PEER_PAIRS).ratio),
    f"ours, {NUM_PAIRS} pairs": (True, lambda visit: estimate(visit, NUM_PAIRS).ratio),
}


def repeatability_table(num_repetitions: int, *, is_beside_training: bool, progress: Progress) -> Table:
    """Coefficients of variation, percent: one visit for each mix and their mean with its interval, and three visits."""
    where = "beside a training on another core" if is_beside_training else "nothing else of ours running"
    ours, others = _collect(num_repetitions, is_beside_training, progress)
    mixes = list(ours[0])
    table = Table(title=f"Coefficient of variation over {num_repetitions} fresh processes, %, {where}")
    table.add_column("protocol")
    for name in (*mixes, "mean", "95 % interval", "3 visits, mean", "3 visits, worst"):
        table.add_column(name, justify="right")
    for name, (keeps_memory, estimator) in _PROTOCOLS.items():
        table.add_row(name, *_row(ours if keeps_memory else others, estimator, mixes))
    return table


def _row(visits: Visits, estimator: Estimate, mixes: Sequence[str]) -> list[str]:
    logs = np.array([[math.log(estimator(visit[mix])) for mix in mixes] for visit in visits])
    single = logs.std(axis=0, ddof=1)
    low, high = _bootstrap(logs)
    three = [_of_three(column) for column in logs.T]
    figures = [*single, single.mean()]
    return [
        *(f"{100 * figure:.1f}" for figure in figures),
        f"{100 * low:.1f}–{100 * high:.1f}",
        f"{100 * statistics.mean(three):.1f}",
        f"{100 * max(three):.1f}",
    ]


def _of_three(logs: np.ndarray) -> float:
    """Of the mean of three visits: all triples, corrected for drawing them from so few repetitions."""
    means = [statistics.mean(triple) for triple in itertools.combinations(logs, 3)]
    return statistics.pstdev(means) / math.sqrt(1 - 3 / len(logs)) * math.sqrt(len(logs) / (len(logs) - 1))


def _bootstrap(logs: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean over mixes of the CV, repetitions drawn anew."""
    rng = np.random.default_rng(0)
    drawn = (logs[rng.integers(len(logs), size=len(logs))].std(axis=0, ddof=1).mean() for _ in range(2_000))
    low, high = np.quantile(list(drawn), (0.025, 0.975))
    return float(low), float(high)


def _collect(num_repetitions: int, is_beside_training: bool, progress: Progress) -> tuple[Visits, Visits]:
    """Visits with kept memory and with the C library's own ways, in turn."""
    ours: Visits = []
    others: Visits = []

    def repeat() -> None:
        for _ in progress.track(range(num_repetitions), description="repetitions"):
            for keeps_memory, visits in ((True, ours), (False, others)):
                visits.append(in_fresh_process(visit_mixes, keeps_memory, NUM_PAIRS, None))

    if is_beside_training:
        with neighbour(None):
            repeat()
    else:
        repeat()
    return ours, others


def contamination_table(num_repetitions: int, progress: Progress) -> Table:
    """A busy process on the very core that is timed: found out, or harmless?"""
    table = Table(title=f"A busy process on the same core, {num_repetitions} visits to each mix")
    for name in ("condition", "called contaminated", "worst error of the others", "error of the mean step"):
        table.add_column(name, justify="right")
    alone = [_on_core(progress) for _ in range(num_repetitions)]
    with neighbour(_CORE):
        busy = [_on_core(progress) for _ in range(num_repetitions)]
    for condition, visits in (("alone", alone), ("busy", busy)):
        table.add_row(condition, *_contamination_row(visits, alone))
    return table


def _on_core(progress: Progress) -> dict[str, Visit]:
    task = progress.add_task("same core", total=None)
    visits = in_fresh_process(visit_mixes, True, PEER_PAIRS, _CORE)
    progress.remove_task(task)
    return visits


def _contamination_row(visits: Visits, alone: Visits) -> list[str]:
    truth = {mix: statistics.median(estimate(visit[mix], PEER_PAIRS).ratio for visit in alone) for mix in alone[0]}
    means = {mix: statistics.median(estimate(visit[mix], PEER_PAIRS).mean for visit in alone) for mix in alone[0]}
    found = [(mix, estimate(visit[mix], PEER_PAIRS)) for visit in visits for mix in visit]
    errors = [abs(each.ratio / truth[mix] - 1) for mix, each in found if each.is_clean]
    of_means = [each.mean / means[mix] - 1 for mix, each in found]
    share = sum(not each.is_clean for _, each in found) / len(found)
    return [f"{share:.0%}", f"{max(errors):.1%}" if errors else "–", f"{statistics.median(of_means):+.0%}"]
