"""Searches that start from what earlier runs found out."""

import io
import shutil
from pathlib import Path
from typing import Any

import fake_search
import pytest
from rich.console import Console

from nas.cli.search_command import _read
from nas.cli.search_display import SearchDisplay
from nas.run import Run
from nas.run_directory import RunDirectoryError
from nas.trials import EarlierResults
from search_spaces.space_file import space_from_mapping

SPACE = space_from_mapping(fake_search.SPACE)
LARGER = fake_search.SPACE | {
    "stages": [fake_search.SPACE["stages"][0] | {"kernel_size": [3, 5, 7]}, fake_search.SPACE["stages"][1]]  # type: ignore[index]
}
"""A third of its members are none of the space."""


def search(out: Path, **changes: Any) -> Run:
    settings = {"finalists": 0, "sampler": "known-cost"} | changes
    return fake_search.run(fake_search.config(out, **settings))[0]


def judged(run: Run) -> list[str]:
    return [record.candidate.architecture for record in run.records if record.is_judged and record.candidate]


@pytest.mark.slow
def test_earlier_results_decide_on_the_first_proposals_and_are_kept(tmp_path: Path) -> None:
    earlier = search(tmp_path / "earlier", sampler="random", trials=14)
    warm = (tmp_path / "earlier",)
    whole = search(tmp_path / "whole", warm_start=warm, trials=7)
    cold = search(tmp_path / "cold", trials=4)
    assert judged(whole)[0] == judged(cold)[0] == str(SPACE.backbone)
    assert judged(whole)[1:4] != judged(cold)[1:4]
    (kept,) = whole.earlier
    assert kept.source == str(tmp_path / "earlier")
    found = {str(SPACE.decode(m)): a for m, a in zip(kept.members, kept.accuracies, strict=True)}
    assert found == {entry.architecture: entry.accuracy for entry in earlier.leaderboard()}
    search(tmp_path / "stopped", warm_start=warm, trials=3)
    shutil.rmtree(tmp_path / "earlier")
    assert judged(search(tmp_path / "stopped", warm_start=warm, trials=7)) == judged(whole)


def test_what_is_no_member_is_left_out_and_counted(tmp_path: Path) -> None:
    evaluate_table = fake_search.table(space_from_mapping(LARGER))

    def evaluate(work: object, report: Any) -> object:
        result = fake_search.evaluate(work, report)
        return evaluate_table if result is fake_search.TABLE else result

    config = fake_search.config(tmp_path / "earlier", space=LARGER, finalists=0, trials=14)
    earlier, _ = fake_search.run(config, fake_search.InlineExecutor(evaluate))
    texts = judged(earlier)
    strangers = [text for text in texts if "_k7_" in text]
    assert strangers
    (kept,) = search(tmp_path / "run", warm_start=(tmp_path / "earlier",), trials=2).earlier
    assert kept.num_left_out == len(strangers)
    assert len(kept.members) == len(texts) - len(strangers)


@pytest.mark.parametrize("what", ["another space", "no run", "nothing there"])
def test_what_cannot_be_used_is_refused_in_one_line_and_leaves_nothing(tmp_path: Path, what: str) -> None:
    earlier = tmp_path / "earlier"
    if what == "another space":
        search(earlier, sampler="random", space=fake_search.TINY_SPACE, trials=3)
    elif what == "no run":
        earlier.mkdir()
    rule = {
        "another space": r"^cannot start from .*earlier: none of its 3 results is of a member of the space \(.*\)$",
        "no run": r"^not a run directory .*earlier$",
        "nothing there": r"^no such run directory: .*earlier$",
    }
    with pytest.raises(RunDirectoryError, match=rule[what]):
        search(tmp_path / "run", warm_start=(earlier,))
    assert not (tmp_path / "run").exists()


def test_other_samplers_cannot_start_from_earlier_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"warm_start needs the sampler known-cost, got random"):
        fake_search.config(tmp_path / "run", warm_start=(tmp_path,))


def test_a_run_cannot_start_from_itself(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"warm_start must name other runs than out"):
        fake_search.config(tmp_path / "run", sampler="known-cost", warm_start=(tmp_path / "run",))


@pytest.mark.slow
def test_a_run_is_not_resumed_from_another_start(tmp_path: Path) -> None:
    search(tmp_path / "earlier", sampler="random", trials=4)
    search(tmp_path / "run", warm_start=(tmp_path / "earlier",), trials=2)
    with pytest.raises(RunDirectoryError, match="another warm_start"):
        search(tmp_path / "run", trials=3)


def test_folders_are_named_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags: dict[str, object] = {"space": "mnasnet", "sampler": "known-cost", "warm_start": [Path("a"), Path("b/c")]}
    assert _read(None, [], flags, []).warm_start == (tmp_path / "a", tmp_path / "b" / "c")
    assert _read(None, [], flags | {"warm_start": "a"}, []).warm_start == (tmp_path / "a",)


def test_the_display_says_what_a_search_starts_from(tmp_path: Path) -> None:
    shown = io.StringIO()
    with SearchDisplay(fake_search.config(tmp_path / "run"), Console(file=shown, width=200)) as display:
        display.starting_from([
            EarlierResults(source="runs/x", members=((0,), (1,)), accuracies=(0.5, 0.6), num_left_out=3)
        ])  # fmt: skip
    assert "starts from 2 results of runs/x (3 of no member of this space left out)" in shown.getvalue()
