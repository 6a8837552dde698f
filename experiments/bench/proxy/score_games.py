"""Whole searches with and without scores of untrained networks, on the same seeds."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from rich.table import Table

from experiments.accel_nasbench.bed import Bed
from experiments.bench.samplers.game import Rules, play
from experiments.bench.samplers.players import Player
from experiments.bench.samplers.standings import bootstrap, estimate
from nas.samplers.problem import Problem

from .score_players import PLAIN

BUDGETS = (10, 20, 50, 100)
"""Trainings at which games are compared."""
_COLUMNS = ("bed", "scored", "player", "seed", *(f"gap_{budget}" for budget in BUDGETS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """A search that is over."""

    bed: str
    scored: int
    """Architectures that scores were known of beforehand."""
    player: str
    seed: int
    gaps: tuple[float | None, ...]
    """Of the best member trained, at each of `BUDGETS`, a fraction of the best reward; None beyond the game's end."""


def play_games(
    beds: Sequence[Bed],
    players: Mapping[str, Callable[[Problem], Player]],
    *,
    scored: int,
    seeds: int,
    trials: int,
    path: Path,
) -> Iterator[Game]:
    """Play what the file does not hold; seed by seed, so that a part is worth having.

    Args:
        beds: Where.
        players: By name.
        scored: Architectures that scores are known of.
        seeds: Games of each player on each bed.
        trials: Trainings of a game.
        path: Of the file.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = {(game.bed, game.scored, game.player, game.seed): game for game in read_games(path)}
    wanted = sum(budget <= trials for budget in BUDGETS)
    for seed in range(seeds):
        for bed in beds:
            for name, make in players.items():
                game = found.get((bed.name, scored, name, seed))
                if game is None or None in game.gaps[:wanted]:
                    played = play(bed, make, Rules(trials=trials), seed)
                    gaps = _gaps([training.reward for training in played.trainings], bed)
                    game = Game(bed=bed.name, scored=scored, player=name, seed=seed, gaps=gaps)
                    _append(path, game)
                yield game


def _gaps(rewards: Sequence[float], bed: Bed) -> tuple[float | None, ...]:
    best = np.maximum.accumulate(rewards)
    return tuple(bed.gap(float(best[budget - 1])) if budget <= len(best) else None for budget in BUDGETS)


def _append(path: Path, game: Game) -> None:
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(_COLUMNS)
        gaps = ("" if gap is None else f"{gap:.6f}" for gap in game.gaps)
        writer.writerow((game.bed, game.scored, game.player, game.seed, *gaps))


def read_games(path: Path) -> list[Game]:
    """Games of a file, if there is one; a longer game stands after a shorter one.

    Raises:
        ValueError: If the file is damaged.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return [_game(row) for row in csv.DictReader(file)]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} must hold games, one in a line: {error!r}; take another --out") from None


def _game(row: Mapping[str, str]) -> Game:
    return Game(
        bed=row["bed"],
        scored=int(row["scored"]),
        player=row["player"],
        seed=int(row["seed"]),
        gaps=tuple(float(row[name]) if row[name] else None for name in _COLUMNS[4:]),
    )


def game_table(games: Sequence[Game], bed: str) -> Table:
    """One row per player: gaps in percent with standard errors, and the paired difference to the plain sampler."""
    own = [game for game in games if game.bed == bed]
    reached = [place for place in range(len(BUDGETS)) if own[0].gaps[place] is not None]
    result = Table(title=f"bed {bed}: gap to the best reward, %", box=None, padding=(0, 2, 0, 0))
    result.add_column("player", no_wrap=True)
    result.add_column("seeds", justify="right")
    for place in reached:
        result.add_column(f"@{BUDGETS[place]}", justify="right", no_wrap=True)
        result.add_column("minus plain [95 %]", justify="right", no_wrap=True)
    for name in dict.fromkeys(game.player for game in own):
        seeds = shared_seeds(own, name)
        cells = [text for place in reached for text in _cells(own, name, place, seeds)]
        result.add_row(name, str(len(seeds)), *cells)
    return result


def shared_seeds(games: Sequence[Game], player: str) -> list[int]:
    """Seeds that both this player and the plain sampler have played."""
    seeds = [{game.seed for game in games if game.player == name} for name in (player, PLAIN)]
    return sorted(set.intersection(*seeds))


def _cells(games: Sequence[Game], name: str, place: int, seeds: Sequence[int]) -> tuple[str, str]:
    values, plain = (100 * _values(games, each, place, seeds) for each in (name, PLAIN))
    mean = estimate(values)
    text = "" if mean is None else f"{mean.mean:.2f} ± {mean.se:.2f}"
    if name == PLAIN or len(seeds) < 2:
        return text, ""
    interval = bootstrap(values - plain)
    return text, f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def _values(games: Sequence[Game], name: str, place: int, seeds: Sequence[int]) -> NDArray[np.float64]:
    by_seed = {game.seed: game.gaps[place] for game in games if game.player == name}
    return np.array([by_seed[seed] for seed in seeds], dtype=float)
