"""A trial that is interrupted, or whose worker is killed, goes on in the next attempt, to the very same result."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import fake_search
import psutil
import pytest
import torch
from torch import Tensor

from nas.config import SearchConfig
from nas.evaluation import Evaluator
from nas.evaluation_tasks import AccuracyRecord, Evaluation, Inspect, Judge, Prepare, Retrain, make_evaluator
from nas.executors.interface import Died, Done, Event, Interrupted, InterruptedTaskError, Progress
from nas.executors.local import LocalExecutor
from nas.run_directory import RunDirectory
from nas.trial_checkpoints import KeptTraining, checkpoint_folder, forget_trainings, kept_training
from proxies import short_training

PREPARATION = replace(fake_search.PREPARATION, mode="float32-contiguous")
EPOCHS = 3


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def config(out: Path, **changes: Any) -> SearchConfig:
    """Three epochs of eight steps; checkpoints after every one."""
    values = {
        "space": fake_search.TINY_SPACE, "device": "cpu", "threads": 1, "checkpoint_every_s": 1e-9, "out": out,
        "fidelity": {"epochs": EPOCHS, "data_share": 0.2, "resolution": 16},
    }  # fmt: skip
    return SearchConfig.model_validate(values | changes)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory, as a worker knows it."""
    RunDirectory(tmp_path / "run").create()
    RunDirectory(tmp_path / "run").study_file.touch()
    return tmp_path / "run"


def backbone(search: SearchConfig) -> str:
    return str(search.search_space().backbone)


def judge(search: SearchConfig, seed: int = 1, train_size: int | None = None) -> Judge:
    return Judge(
        architecture=backbone(search), seed=seed, preparation=PREPARATION, measure=False, train_size=train_size
    )


def record_of(result: object) -> AccuracyRecord:
    """All of it but its seconds."""
    found = result.accuracy if isinstance(result, Evaluation) else result
    assert isinstance(found, AccuracyRecord)
    return replace(found, train_seconds=0.0)


def quietly(fraction: float, doing: str, found: object = None) -> None:
    """Nobody listens."""


def kept_files(search: SearchConfig) -> list[str]:
    folder = checkpoint_folder(search)
    return sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize("kind", ["judge", "retrain"])
def test_what_one_worker_was_told_to_leave_another_one_ends(kind: str, run: Path) -> None:
    search = config(run)
    work = judge(search) if kind == "judge" else Retrain(architecture=backbone(search), seed=1, preparation=PREPARATION)
    alone = record_of(Evaluator(config(run, checkpoint_every_s=0.0), 0)(work, quietly))
    assert kept_files(search) == []
    first, said = Evaluator(search, 0), list[str]()

    def interrupt_in_mid_training(fraction: float, doing: str, found: object = None) -> None:
        if doing == "epoch 2/3":
            first.interrupt()

    with pytest.raises(InterruptedTaskError, match="ended after step 17 of 24"):
        first(work, interrupt_in_mid_training)
    assert kept_files(search) == [KeptTraining(backbone(search), 1).file_name(search)]
    second = record_of(
        Evaluator(search, 1)(work, lambda fraction, doing, found=None: said.append(f"{fraction:.2f} {doing}"))
    )
    assert second == alone
    assert said == ["0.00 goes on after step 17 of 24", "0.33 epoch 1/3", "0.67 epoch 2/3", "1.00 epoch 3/3"]
    third = Evaluator(search, 0)
    began = time.perf_counter()
    assert record_of(third(work, quietly)) == alone, "its result was lost on its way"
    print(f"the result again: {time.perf_counter() - began:.3f} s")
    assert not first.is_spent, "it trained on no GPU"


def test_what_is_kept_is_forgotten_with_its_verdict(run: Path) -> None:
    search = config(run)
    mine, other = kept_training(search, backbone(search)), kept_training(search, backbone(search), 1)
    names = [training.file_name(search) for training in (mine, other)]
    forget_trainings(search, mine)
    folder = checkpoint_folder(search)
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
        (folder / f".{name}.some.host.17.ab.tmp").touch()
    forget_trainings(search, mine)
    assert kept_files(search) == sorted([names[1], f".{names[1]}.some.host.17.ab.tmp"])
    forget_trainings(search, mine, other)
    assert kept_files(search) == []


def test_each_training_has_a_name_of_its_own(tmp_path: Path) -> None:
    search = config(tmp_path)
    text = backbone(search)
    longer = config(tmp_path, fidelity={"epochs": 4, "data_share": 0.2, "resolution": 16})
    names = [
        KeptTraining(text, 1).file_name(search),
        KeptTraining(text, 2).file_name(search),
        KeptTraining(text, 1, 24).file_name(search),
        KeptTraining(text, 1).file_name(longer),
        KeptTraining(text.replace("c8", "c16"), 1).file_name(search),
    ]
    assert len(set(names)) == len(names)
    assert KeptTraining(text, 1, 16).file_name(search) == names[0], "the fidelity's size, spelt out"
    elsewhere = config(tmp_path / "elsewhere", workers=7, trials=3, checkpoint_every_s=5.0)
    assert KeptTraining(text, 1).file_name(elsewhere) == names[0]


def test_where_no_run_directory_is_to_be_seen_it_says_so_once_and_makes_none(tmp_path: Path) -> None:
    search = config(tmp_path / "run")
    evaluator, said = Evaluator(search, 0), list[str]()
    for seed in (1, 2):
        evaluator(judge(search, seed), lambda fraction, doing, found=None: said.append(doing))
    assert [note for note in said if "checkpoint" in note] == [
        f"no checkpoints: this machine has no run directory {tmp_path / 'run'} to write to"
    ]
    assert not (tmp_path / "run").exists()
    evaluator.interrupt()
    with pytest.raises(InterruptedTaskError):
        evaluator(judge(search), quietly)


def test_of_other_images_nothing_is_taken_up(run: Path) -> None:
    search, said = config(run), list[str]()
    evaluator = Evaluator(search, 0)
    evaluator.interrupt()
    with pytest.raises(InterruptedTaskError):
        evaluator(judge(search), quietly)
    others = replace(PREPARATION, data=replace(PREPARATION.data, digest="others"))
    Evaluator(search, 0)(
        replace(judge(search), preparation=others), lambda fraction, doing, found=None: said.append(doing)
    )
    assert said[0] == "begins anew; a checkpoint is left aside: it is of other images"


def test_what_is_no_training_ends_at_its_next_word(run: Path) -> None:
    search = config(run)
    evaluator = Evaluator(search, 0)
    inspection = evaluator(Inspect(), quietly)
    evaluator.interrupt()
    with pytest.raises(InterruptedTaskError):
        evaluator(Prepare(inspection=inspection), quietly)  # type: ignore[arg-type]


def test_a_batch_in_parts_goes_on_in_parts(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next attempt begins with whole batches, too, for which memory does not suffice there either."""
    honest = short_training.build

    def scarce(module: Any, images: tuple[Tensor, ...]) -> None:
        if module.training and len(images[0]) > 16:
            raise MemoryError("not enough memory")

    def build_in_little_memory(*args: Any, **settings: Any) -> Any:
        network = honest(*args, **settings)
        network.register_forward_pre_hook(scarce)
        return network

    monkeypatch.setattr(short_training, "build", build_in_little_memory)
    search = config(run, out_of_memory="micro_batches")
    alone = record_of(
        Evaluator(config(run, out_of_memory="micro_batches", checkpoint_every_s=0.0), 0)(judge(search), quietly)
    )
    assert alone.micro_batches == 2
    first, said = Evaluator(search, 0), list[str]()
    with pytest.raises(InterruptedTaskError):
        first(judge(search), lambda fraction, doing, found=None: first.interrupt() if fraction else None)
    found = Evaluator(search, 0)(judge(search), lambda fraction, doing, found=None: said.append(doing))
    assert record_of(found) == alone
    assert said[:2] == ["begins anew; a checkpoint is left aside: it is of other plan", "goes on after step 9 of 24"]


def until(executor: LocalExecutor, task: int, happened: Callable[[Event], bool]) -> list[Event]:
    """All events of a task up to this one; the limit only keeps a broken test from hanging."""
    events: list[Event] = []
    end = time.monotonic() + 200
    while not any(map(happened, events)):
        assert time.monotonic() < end, events
        events += [event for event in executor.events(0.2) if event.task == task]
    return events


def test_attempts_that_are_killed_and_interrupted_come_to_the_same_result(run: Path) -> None:
    """Real workers: SIGKILL in mid-training, then a scheduler's SIGTERM, then the rest in a third process."""
    search = config(run, fidelity={"epochs": 12, "data_share": 0.2, "resolution": 16})
    work = judge(search)
    alone = record_of(
        Evaluator(config(run, fidelity=search.fidelity.model_dump(), checkpoint_every_s=0.0), 0)(work, quietly)
    )
    executor = LocalExecutor(partial(make_evaluator, search))
    try:
        before = set(psutil.Process().children())
        executor.submit(0, work)
        until(executor, 0, lambda event: isinstance(event, Progress) and event.doing == "epoch 3/12")
        (worker,) = [child for child in before if "spawn_main" in " ".join(child.cmdline())]
        worker.kill()
        assert isinstance(until(executor, 0, lambda event: not isinstance(event, Progress))[-1], Died)
        executor.submit(1, work)
        second = until(executor, 1, lambda event: isinstance(event, Progress) and event.doing == "epoch 6/12")
        executor.interrupt(1)
        assert until(executor, 1, lambda event: not isinstance(event, Progress))[-1] == Interrupted(1)
        executor.submit(2, work)
        third = until(executor, 2, lambda event: isinstance(event, Done))
    finally:
        executor.close()
    steps = [_step_gone_on_after(events) for events in (second, third)]
    print("went on after steps", steps)
    assert 0 < steps[0] < steps[1] < 12 * 8
    assert steps[1] > 6 * 8, "what was interrupted has kept its last step"
    result = third[-1]
    assert isinstance(result, Done)
    assert record_of(result.result) == alone


def _step_gone_on_after(events: list[Event]) -> int:
    (note,) = [event.doing for event in events if isinstance(event, Progress) and event.doing.startswith("goes on")]
    return int(note.split()[4])


@pytest.mark.gpu
def test_on_cuda_a_process_trains_once(run: Path) -> None:
    search = config(run, device="cuda")
    evaluator = Evaluator(search, 0)
    assert not evaluator.is_spent
    evaluator(judge(search), quietly)
    assert evaluator.is_spent
