"""How well a table predicts networks that were never measured, for the cost of how many measurements."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from rich.progress import Progress
from rich.table import Table

from proxies.complexity import count_macs, count_params
from proxies.ranking import rank, tau_ceiling
from proxies.step_time_calibration import SHARE_OF_ROUNDS, calibrate
from proxies.step_time_table import StepTimeTable
from search_spaces.architecture import Architecture

from .networks import NUM_CLASSES, Bed, beds
from .visits import in_fresh_process, label_all, make_device

LABEL_PAIRS = 14
LABEL_VISITS = 3
COST = 40
"""Measurements of one visit that a calibration may cost."""
PEER_COST = 35
"""Of the sum of warm isolated blocks, a canary beside each, nothing fitted, the C library's own allocator."""

Predictor = Callable[[Architecture], float]


def prediction_table(number: int, num_networks: int, progress: Progress) -> Table:
    """One row for each predictor: τ with its interval, errors, cost.

    Args:
        number: Of the bed.
        num_networks: Held out, random.
        progress: Shows where it is.
    """
    bed = beds()[number]
    networks = bed.members(num_networks, seed=100)
    task = progress.add_task(f"{bed.name}: calibrating", total=None)
    _, unit_s = in_fresh_process(label_all, [str(network) for network in networks[:4]], number, LABEL_PAIRS)
    ours = in_fresh_process(_calibrate, number, COST * unit_s)
    progress.update(task, description=f"{bed.name}: calibrating as the peer does")
    peer = in_fresh_process(_calibrate_as_peer, number, PEER_COST * unit_s)
    progress.remove_task(task)
    visits = _visits(bed, number, networks, progress)
    return _table(bed, networks, visits, {"ours": (ours, unit_s), "peer": (peer, unit_s)})


def _visits(bed: Bed, number: int, networks: Sequence[Architecture], progress: Progress) -> np.ndarray:
    """Ratios of each network in each visit, (visits, N); every visit is a process of its own."""
    texts = [str(network) for network in networks]
    turns = progress.track(range(LABEL_VISITS), description=f"{bed.name}: measuring what is held out")
    return np.array([in_fresh_process(label_all, texts, number, LABEL_PAIRS)[0] for _ in turns])


def _table(
    bed: Bed,
    networks: Sequence[Architecture],
    visits: np.ndarray,
    tables: dict[str, tuple[StepTimeTable, float]],
) -> Table:
    logs = np.log(visits)
    true = np.exp(logs.mean(axis=0))
    noise = float(np.sqrt(logs.var(axis=0, ddof=1).mean() / len(visits)))
    ceiling = tau_ceiling(true, noise)
    (ours, unit_s), (peer, _) = tables["ours"], tables["peer"]
    rows: dict[str, tuple[Predictor, float]] = {
        "MACs": (lambda network: count_macs(network, None, NUM_CLASSES), 0.0),
        "parameters": (lambda network: count_params(network, NUM_CLASSES), 0.0),
        "depth": (lambda network: sum(stage.num_repeats for stage in network.stages), 0.0),
        "sum of isolated blocks": (lambda network: peer.predict(network).median_s / peer.canary_s, peer.seconds),
        "ours": (lambda network: ours.predict(network).median_s / ours.canary_s, ours.seconds),
    }
    table = Table(
        title=f"{bed.name}: {len(networks)} held-out networks, {len(visits)} visits each (their error {noise:.1%}; "
        f"a perfect predictor: τ {ceiling:.3f}, median error {0.6745 * noise:.1%})",
        caption=f"one measurement of one visit ({LABEL_PAIRS} pairs) takes {unit_s:.2f} s; "
        f"ours: {len(ours.blocks)} blocks, {len(ours.networks)} networks, stated error "
        f"{statistics.median(ours.predict(network).relative_standard_error for network in networks):.1%}",
    )
    for name in ("predictor", "Kendall τ [90 %]", "median error", "90 % quantile", "cost, measurements"):
        table.add_column(name, justify="left" if name == "predictor" else "right")
    for name, (predict, seconds) in rows.items():
        table.add_row(
            name, *_figures(np.array([predict(network) for network in networks]), true), f"{seconds / unit_s:.0f}"
        )
    return table


def _figures(predicted: np.ndarray, true: np.ndarray) -> list[str]:
    """What is no time at all is scaled by its median; predictions of times are taken as they are."""
    if np.median(predicted) > 1_000 * np.median(true) or np.all(predicted == predicted.round()):
        predicted = predicted * np.median(true / predicted)
    errors = np.abs(predicted / true - 1)
    return [str(rank(predicted, true)), f"{np.median(errors):.1%}", f"{np.quantile(errors, 0.9):.1%}"]


def speed_table() -> Table:
    """What a prediction costs."""
    bed = beds()[0]
    table = in_fresh_process(_calibrate, 0, 0.0)
    networks = bed.members(1_000, seed=1)
    one = _seconds(lambda: [table.predict(network) for network in networks]) / len(networks)
    encoded = np.array([bed.space.encode(network) for network in networks] * 100)
    many = _seconds(lambda: table.over(bed.space)(encoded))
    shown = Table(title="A prediction")
    for name in ("one architecture, µs", "many, architectures a second"):
        shown.add_column(name, justify="right")
    shown.add_row(f"{1e6 * one:.0f}", f"{len(encoded) / many:,.0f}")
    return shown


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _calibrate(number: int, budget_s: float) -> StepTimeTable:
    bed = beds()[number]
    return calibrate(bed.space, workload=bed.workload, device=make_device(keep_memory=True), budget_s=budget_s)


def _calibrate_as_peer(number: int, budget_s: float) -> StepTimeTable:
    """The blocks' part alone, for the whole budget."""
    bed = beds()[number]
    start = time.perf_counter()
    table = calibrate(
        bed.space,
        workload=bed.workload,
        device=make_device(keep_memory=False),
        budget_s=budget_s / SHARE_OF_ROUNDS,
        handful_s=0.0,
        max_networks=0,
    )
    return replace(table, networks=(), seconds=time.perf_counter() - start)
