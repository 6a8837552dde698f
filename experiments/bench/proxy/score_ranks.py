"""How well scores rank accuracies, alone and beyond what multiply-adds and parameters say anyway."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from scipy.stats import norm, rankdata

from proxies.ranking import Ranking, rank

from .scored import ScoreTable

Array = NDArray[np.float64]

BASELINES = ("params", "macs")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRank:
    """What one score is worth."""

    name: str
    alone: Ranking
    """Kendall's τ of the score and accuracy."""
    beyond: Ranking | None
    """Of what multiply-adds and parameters leave of both; None of these themselves."""
    together: Ranking
    """Of accuracy and its prediction from multiply-adds, parameters and the score, each architecture left out once."""
    seconds: float
    """For one architecture, the median."""


def score_ranks(table: ScoreTable) -> Iterator[ScoreRank]:
    """Every score, as the table has them."""
    known = np.log(np.stack([table.scores[name] for name in BASELINES], axis=1))
    for name, scores in table.scores.items():
        score = normal_scores(scores)
        is_new = name not in BASELINES
        left = residuals(score, known), residuals(table.accuracy, known)
        features = np.column_stack([known, score]) if is_new else known
        yield ScoreRank(
            name=name,
            alone=rank(scores, table.accuracy),
            beyond=rank(*left) if is_new else None,
            together=rank(left_out(features, table.accuracy), table.accuracy),
            seconds=table.seconds[name],
        )


def normal_scores(values: Array) -> Array:
    """The same order with the spread of a normal distribution, so that no outlier leads a fit, (N,)."""
    return np.asarray(norm.ppf((rankdata(values) - 0.5) / len(values)))


def residuals(values: Array, known: Array) -> Array:
    """What a linear fit leaves unexplained, (N,).

    Args:
        values: (N,)
        known: (N, number of features).
    """
    design = _design(known)
    return np.asarray(values - design @ np.linalg.lstsq(design, values)[0])


def left_out(known: Array, values: Array) -> Array:
    """Linear predictions of each value from all others, (N,).

    Args:
        known: (N, number of features).
        values: (N,)
    """
    design = _design(known)
    leverage = np.einsum("nj,jn->n", design, np.linalg.pinv(design))
    return np.asarray(values - residuals(values, known) / (1.0 - leverage))


def rank_table(ranks: list[ScoreRank], title: str) -> Table:
    """One row per score."""
    result = Table(title=title, box=None, padding=(0, 2, 0, 0))
    for column in ("score", "τ to accuracy [90 %]", "beyond MACs and params", "MACs, params and score", "seconds"):
        result.add_column(column, justify="left" if column == "score" else "right", no_wrap=True)
    for each in ranks:
        seconds = f"{each.seconds:.2f}"
        result.add_row(each.name, str(each.alone), str(each.beyond or ""), str(each.together), seconds)
    return result


def _design(known: Array) -> Array:
    centred = known - known.mean(axis=0)
    return np.column_stack([np.ones(len(known)), centred / centred.std(axis=0)])
