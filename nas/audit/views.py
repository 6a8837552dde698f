"""What an audit's directory shows: `audit.csv`, `proxies.csv`, `proxy.yaml`, `report.html`; nobody reads them back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from proxies.ranking import Ranking
from search_spaces.strict_yaml import dump_yaml

from ..run_directory import write_whole
from .advice import cost_text, describe, exponents_text, suited_exponents, tau_text
from .analysis import Analysis, Recommendation
from .config import ProxyTraining
from .exponents import Slope
from .results import AuditResults, Cell
from .scores import Selection
from .standing import Standing

TRAININGS_FILE, PROXIES_FILE, FRAGMENT_FILE, REPORT_FILE = "audit.csv", "proxies.csv", "proxy.yaml", "report.html"

_CELL_COLUMNS = (
    "number", "training", "replicate", "state", "accuracy", "reward", "num_correct", "num_images", "train_seconds",
    "seed", "reason", "is_target", "epochs", "resolution", "data_share", "width", "lr", "batch_size", "params", "macs",
    "step_time_s", "reward_factor", "architecture",
)  # fmt: skip
_PROXY_COLUMNS = (
    "training", "state", "reason", "num_architectures", "tau", "tau_low", "tau_high", "tau_beside_ceiling",
    "reward_tau", "reward_tau_low", "reward_tau_high", "slope", "slope_low", "slope_high",
    "suited_reward_tau", "suited_reward_tau_low",
    "suited_reward_tau_high", "cost", "images", "top", "top_found", "top_chance",
    "reward_regret", "accuracy_top_found", "accuracy_regret", "on_front", "recommended", "epochs",
    "resolution", "data_share", "width", "lr", "batch_size",
)  # fmt: skip


def write_views(analysis: Analysis, folder: Path, *, report: bool = True) -> None:
    """Write the tables, the recommended proxy's fragment and, unless it is left out, the report.

    Raises:
        OSError: If one of them cannot be written.
    """
    for name, text in view_texts(analysis):
        write_whole(folder / name, text)
    if report:
        # Plotly is imported for reports only.
        from ..report.audit_page import write_audit_page

        write_audit_page(analysis, folder / REPORT_FILE)


def view_texts(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """Every view but the report: its file's name, and what stands in it."""
    yield TRAININGS_FILE, _csv(trainings_frame(analysis.results))
    yield PROXIES_FILE, _csv(proxies_frame(analysis))
    if analysis.recommendation is not None:
        yield FRAGMENT_FILE, fragment(analysis, analysis.recommendation)


def trainings_frame(results: AuditResults) -> pd.DataFrame:
    """One row for each training that is planned or done; what one does not have yet is missing."""
    cells = list(dict.fromkeys([*results.planned(), *results.trainings, *results.failed]))
    frame = pd.DataFrame([_cell_row(cell, results) for cell in cells], columns=_CELL_COLUMNS)
    return frame.astype(dict.fromkeys(("num_correct", "num_images", "seed", "resolution", "batch_size"), "Int64"))


def proxies_frame(analysis: Analysis) -> pd.DataFrame:
    """One row for each proxy, the cheapest first, then those that cannot be judged yet."""
    chosen = analysis.recommendation and analysis.recommendation.standing
    rows = [_standing_row(each, each is chosen) for each in analysis.standings]
    trainings = {training.key: training for training in analysis.results.config.audited}
    for key, reason in analysis.pending.items():
        rows.append({**_setting(trainings[key]), "training": key, "state": "not yet", "reason": reason})
    frame = pd.DataFrame(rows, columns=_PROXY_COLUMNS)
    return frame.astype(dict.fromkeys(("num_architectures", "top", "top_found", "accuracy_top_found"), "Int64"))


def fragment(analysis: Analysis, chosen: Recommendation) -> str:
    """The recommended proxy as a part of a recipe, which `include` and `--include` take."""
    each, config = chosen.standing, analysis.results.config
    state = "" if analysis.results.is_complete else ", audit unfinished"
    lines = [
        f"# {each.training.key}: {describe(each.training)}. Kendall's τ {tau_text(each.accuracy)} against "
        f"{describe(config.target)}, on {each.num_architectures} architectures{state},",
        f"# at {cost_text(each.cost)} of the cost; audit {config.out}, {analysis.results.device}.",
        f"# {exponents_text(each, config.search)}",
    ]
    own, suited = _own_training(each.training), suited_exponents(each, config.search)
    values: dict[str, object] = {"fidelity": each.training.fidelity.model_dump(mode="json")}
    return "\n".join([*lines, dump_yaml(values | ({"train": own} if own else {}) | suited)])


def _own_training(training: ProxyTraining) -> dict[str, Any]:
    """What a proxy sets of a recipe's `train`."""
    own = {"lr": training.lr, "batch_size": training.batch_size}
    return {name: value for name, value in own.items() if value is not None}


def _cell_row(cell: Cell, results: AuditResults) -> dict[str, Any]:
    config, audited = results.config, results.architectures[cell.number]
    known = {training.key: training for training in (config.target, *config.audited)}
    record = results.trainings.get(cell)
    row = {
        "number": cell.number,
        "training": cell.training,
        "replicate": cell.replicate,
        "state": "done" if record else "failed" if cell in results.failed else "planned",
        "reason": results.failed.get(cell),
        "is_target": cell.training == config.target.key,
        "params": audited.costs.params,
        "macs": audited.costs.macs,
        "step_time_s": audited.costs.step_time_s,
        "reward_factor": audited.reward_factor,
        "architecture": audited.architecture,
        **(_setting(known[cell.training]) if cell.training in known else {}),
    }
    if record is None:
        return row
    return row | {
        "accuracy": record.accuracy,
        "reward": record.accuracy * audited.reward_factor,
        "num_correct": record.num_correct,
        "num_images": record.num_images,
        "train_seconds": record.train_seconds,
        "seed": record.seed,
    }


def _standing_row(each: Standing, recommended: bool) -> dict[str, Any]:
    return {
        **_setting(each.training),
        "training": each.training.key,
        "state": "judged" if each.is_settled else "so far",
        "num_architectures": each.num_architectures,
        **_interval("tau", each.accuracy),
        "tau_beside_ceiling": each.beside_ceiling,
        **_interval("reward_tau", each.reward),
        **(
            {"slope": each.slope.value, "slope_low": each.slope.low, "slope_high": each.slope.high}
            if each.slope
            else {}
        ),
        **_interval("suited_reward_tau", each.suited_reward),
        "cost": each.cost,
        "images": each.images,
        **_selections(each.by_reward, each.by_accuracy),
        "on_front": each.on_front,
        "recommended": recommended,
    }


def _interval(name: str, ranking: Ranking) -> dict[str, float]:
    return {name: ranking.tau, f"{name}_low": ranking.low, f"{name}_high": ranking.high}


def _slope(slope: Slope | None) -> dict[str, float]:
    return {"slope": slope.value, "slope_low": slope.low, "slope_high": slope.high} if slope else {}


def _selections(by_reward: Selection | None, by_accuracy: Selection | None) -> dict[str, Any]:
    if by_reward is None or by_accuracy is None:
        return {}
    return {
        "top": by_reward.num_best,
        "top_found": by_reward.found,
        "top_chance": by_reward.chance,
        "reward_regret": by_reward.regret,
        "accuracy_top_found": by_accuracy.found,
        "accuracy_regret": by_accuracy.regret,
    }


def _setting(training: ProxyTraining) -> dict[str, Any]:
    return training.model_dump()


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, lineterminator="\n")
