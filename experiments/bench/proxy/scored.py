"""Candidates of known accuracy, built and scored untrained; one line each, kept as they are found."""

import csv
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxies.zero_cost import SCORES, Probe, zero_cost_scores
from search_spaces.architecture import Architecture

_FACTS = ("setting", "candidate", "accuracy")
_SECONDS = "_seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An architecture whose accuracy is known."""

    name: str
    """In one word, unique."""
    architecture: Architecture
    accuracy: float
    """A fraction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A candidate's scores."""

    setting: str
    """What all of a file have in common: images, size, seed."""
    candidate: str
    accuracy: float
    scores: Mapping[str, float]
    seconds: Mapping[str, float]
    """That each score took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """Scores of many candidates."""

    candidates: tuple[str, ...]
    accuracy: NDArray[np.float64]
    """(N,)"""
    scores: Mapping[str, NDArray[np.float64]]
    """(N,) each."""
    seconds: Mapping[str, float]
    """Median of each score."""


def table_of(scored: Sequence[Scored]) -> ScoreTable:
    """Rows as columns."""
    return ScoreTable(
        candidates=tuple(each.candidate for each in scored),
        accuracy=np.array([each.accuracy for each in scored]),
        scores={name: np.array([each.scores[name] for each in scored]) for name in SCORES},
        seconds={name: float(np.median([each.seconds[name] for each in scored])) for name in SCORES},
    )


def score_all(candidates: Iterable[Candidate], probe: Probe, path: Path, *, setting: str) -> Iterator[Scored]:
    """Score candidates, and write each to the file as it is found; those in the file are taken from there.

    Raises:
        ValueError: If the file is damaged or of another setting.
    """
    found = {each.candidate: each for each in read_scored(path, setting=setting)}
    for candidate in candidates:
        if candidate.name not in found:
            found[candidate.name] = _score(candidate, probe, setting)
            append_scored(path, found[candidate.name])
        # Of candidates that are still being trained, accuracy is what is known by now.
        yield replace(found[candidate.name], accuracy=candidate.accuracy)


def _score(candidate: Candidate, probe: Probe, setting: str) -> Scored:
    scores: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for name in SCORES:
        start = time.perf_counter()
        scores |= zero_cost_scores(candidate.architecture, probe, [name])
        seconds[name] = time.perf_counter() - start
    return Scored(
        setting=setting, candidate=candidate.name, accuracy=candidate.accuracy, scores=scores, seconds=seconds
    )


def append_scored(path: Path, scored: Scored) -> None:
    """Write one line, and the header before the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists() or not path.stat().st_size
    values = {"setting": scored.setting, "candidate": scored.candidate, "accuracy": f"{scored.accuracy:.6f}"}
    values |= {name: repr(value) for name, value in scored.scores.items()}
    values |= {name + _SECONDS: f"{value:.3f}" for name, value in scored.seconds.items()}
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _columns(), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(values)


def read_scored(path: Path, *, setting: str | None = None) -> list[Scored]:
    """What was found before; a last line that was cut off is left out, and removed.

    Raises:
        ValueError: If the file is damaged, of other scores, or of another setting than this.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    try:
        scored = [_scored(row) for row in csv.DictReader(whole.splitlines())]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} must hold a column for each score, {error!r}; take another --out") from None
    for each in scored:
        if setting is not None and each.setting != setting:
            raise ValueError(f"{path} must hold scores of {setting!r}, got {each.setting!r}; take another --out")
    return scored


def _columns() -> list[str]:
    return [*_FACTS, *SCORES, *(name + _SECONDS for name in SCORES)]


def _scored(row: Mapping[str, str]) -> Scored:
    return Scored(
        setting=row["setting"],
        candidate=row["candidate"],
        accuracy=float(row["accuracy"]),
        scores={name: float(row[name]) for name in SCORES},
        seconds={name: float(row[name + _SECONDS]) for name in SCORES},
    )
