"""The accuracy proxy on real images: it learns, repeats itself, and says when a candidate cannot be judged."""

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import proxies.accuracy
import proxies.short_training
from proxies.accuracy import AccuracyProxy, AccuracyResult, EpochProgress
from proxies.data.batches import LimitedBatches, StreamedBatches
from proxies.data.images import LabelledImages
from proxies.data.passes import TrainingPass
from proxies.device import find_device
from proxies.evaluation import evaluate
from proxies.execution import PLAIN, ExecutionMode, parse_mode
from proxies.infeasible import InfeasibleError
from proxies.training.config import DataConfig, Fidelity, TrainConfig
from search_spaces.architecture import parse
from search_spaces.network import build

TINY = parse("stem8-er_r1_k3_s1_e1_c8-er_r1_k3_s2_e4_c16-ir_r1_k3_s2_e4_c24_se0.25-ir_r1_k3_s2_e4_c32_se0.25-head64@16")
FAST = parse_mode("float32-channels_last-small_maps")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def proxy(
    *, mode: ExecutionMode = FAST, data: DataConfig | None = None, epochs: int = 1, share: float = 0.2, **train: object
) -> AccuracyProxy:
    return AccuracyProxy(
        data=data or DataConfig(),
        train=TrainConfig(**train),  # type: ignore[arg-type]
        fidelity=Fidelity(epochs=epochs, resolution=16, data_share=share),
        device=find_device("cpu"),
        mode=mode,
    )


def facts(result: AccuracyResult) -> list[tuple[int, float]]:
    """All of a result but its times."""
    return [(each.score.num_correct, each.train_loss) for each in result.curve]


def test_digits_are_learnt() -> None:
    judge = proxy(epochs=5, share=1.0)
    result = judge.evaluate(TINY, seed=0)
    losses = [each.train_loss for each in result.curve]
    assert result.accuracy > 0.6  # 10 classes: chance is 0.1
    assert losses == sorted(losses, reverse=True)
    assert result.num_images == len(judge.splits.minival) == 179
    assert result.final_train_loss == losses[-1]
    assert result.images_per_s == pytest.approx(5 * (1439 // 32) * 32 / result.train_seconds)


def test_one_seed_gives_one_result_and_another_another() -> None:
    judge = proxy(epochs=2, drop_rate=0.2, drop_path_rate=0.2)
    first = facts(judge.evaluate(TINY, seed=3))
    torch.rand(7)  # somebody else draws in between
    assert facts(judge.evaluate(TINY, seed=3)) == first
    assert facts(proxy(epochs=2, drop_rate=0.2, drop_path_rate=0.2).evaluate(TINY, seed=3)) == first
    assert facts(judge.evaluate(TINY, seed=4)) != first


def test_nobodys_random_numbers_are_disturbed() -> None:
    judge = proxy()
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    judge.evaluate(TINY)
    assert torch.equal(torch.rand(3), expected)


def test_the_test_part_is_never_read() -> None:
    def forbidden() -> LabelledImages:
        raise AssertionError("the test part was read")

    judge = proxy()
    judge.splits = replace(judge.splits, read_test=forbidden)
    assert judge.data_digest
    judge.evaluate(TINY)


def test_progress_is_told_after_every_epoch_and_may_end_the_training() -> None:
    told: list[EpochProgress] = []

    def stop_after_two(progress: EpochProgress) -> None:
        told.append(progress)
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        proxy(epochs=5).evaluate(TINY, on_epoch=stop_after_two)
    assert [(each.epoch, each.num_epochs) for each in told] == [(1, 5), (2, 5)]
    assert told[0].train_seconds < told[1].train_seconds


@pytest.mark.parametrize("mode", [PLAIN, FAST], ids=str)
def test_a_loss_that_is_not_finite_makes_the_candidate_infeasible(mode: ExecutionMode) -> None:
    judge = proxy(mode=mode, epochs=3, optimizer="sgd", lr=1e30, warmup_epochs=0.0)
    with pytest.raises(InfeasibleError, match=r"^loss is not finite in epoch 1$") as verdict:
        judge.evaluate(TINY)
    assert verdict.value.reason == "loss is not finite in epoch 1"


def test_failing_memory_makes_the_candidate_infeasible_and_lets_go_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    networks: list[weakref.ref[nn.Module]] = []

    def build_and_fail(*args: object, **kwargs: object) -> nn.Module:
        network = build(*args, **kwargs)  # type: ignore[arg-type]
        networks.append(weakref.ref(network))
        network.conv_stem.register_forward_hook(allocate_too_much)  # type: ignore[union-attr]
        return network

    def allocate_too_much(*_: object) -> None:
        torch.empty(2**50, dtype=torch.uint8)  # refused by the real allocator

    monkeypatch.setattr(proxies.short_training, "build", build_and_fail)
    judge = proxy()
    with pytest.raises(InfeasibleError, match="out of memory on cpu"):
        judge.evaluate(TINY)
    assert networks[0]() is None


def test_other_errors_are_not_mistaken_for_infeasible(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> nn.Module:
        raise RuntimeError("a bug")

    monkeypatch.setattr(proxies.short_training, "build", broken)
    with pytest.raises(RuntimeError, match="a bug") as error:
        proxy().evaluate(TINY)
    assert not isinstance(error.value, InfeasibleError)


def test_a_last_batch_of_one_image_on_one_pixel_breaks_nothing(tmp_path: Path) -> None:
    """33 training images in batches of 32, feature maps of 1×1: batch norm cannot train on the image left over."""
    for label in ("a", "b", "c"):
        (tmp_path / label).mkdir()
        for number in range(13):
            Image.new("L", (20, 20), 10 * number).save(tmp_path / label / f"{number}.png")
    judge = proxy(data=DataConfig(source=f"imagefolder:{tmp_path}"), share=1.0)
    assert len(judge.data.train) == 33
    assert judge.planned_steps == 1
    result = judge.evaluate(TINY)
    assert result.num_images == 3


@pytest.mark.parametrize("memory_limit_gib", [2.0, 0.0], ids=["memory", "streamed"])
def test_images_of_ones_own_are_learnt(tmp_path: Path, memory_limit_gib: float) -> None:
    """Red against blue, in colour: anyone can tell them apart after three epochs."""
    for label, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (tmp_path / label).mkdir()
        for number in range(40):
            picture = Image.new("RGB", (24, 20), tuple(channel + number for channel in colour))
            picture.save(tmp_path / label / f"{number}.png")
    data = DataConfig(source=f"imagefolder:{tmp_path}", memory_limit_gib=memory_limit_gib)
    judge = proxy(data=data, share=1.0, epochs=4, batch_size=8)
    assert (judge.num_classes, judge.in_channels) == (2, 3)
    assert judge.evaluate(TINY).accuracy == 1.0


def test_what_is_configured_of_the_data_reaches_the_batches(tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), number).save(path)
    data = DataConfig(source=f"imagefolder:{tmp_path}", memory_limit_gib=0.0, num_workers=3)
    train = proxy(data=data, share=1.0).data.train
    assert isinstance(train, LimitedBatches)
    streamed = train.at(16)
    assert isinstance(streamed, StreamedBatches)
    assert streamed.num_workers == 3


def test_a_set_of_pixels_over_the_limit_is_trained_on_all_the_same() -> None:
    limited = proxy(data=DataConfig(memory_limit_gib=0.0), share=0.05)
    assert facts(limited.evaluate(TINY, seed=0)) == facts(proxy(share=0.05).evaluate(TINY, seed=0))


def test_the_share_of_the_data_is_trained_on_and_all_of_minival_judges() -> None:
    judge = proxy(share=0.25)
    assert len(judge.data.train) == pytest.approx(0.25 * 1439, abs=10)
    assert len(judge.data.minival) == 179


def test_without_a_resolution_the_architecture_has_its_own() -> None:
    judge = AccuracyProxy(
        data=DataConfig(), train=TrainConfig(), fidelity=Fidelity(epochs=1, data_share=0.05), device=find_device("cpu")
    )
    sizes = []
    shuffled = judge.data.train.shuffled

    class Spy:
        def __len__(self) -> int:
            return len(judge.data.train)

        def shuffled(self, training_pass: TrainingPass) -> object:
            sizes.append(training_pass.resolution)
            return shuffled(training_pass)

    proxies.accuracy.train_and_score(
        TINY, data=replace(judge.data, train=Spy()), config=judge.train_config, fidelity=judge.fidelity,  # type: ignore[arg-type]
        seed=0, mode=PLAIN, device=judge.device,
    )  # fmt: skip
    assert sizes == [TINY.resolution]


def test_evaluation_equals_a_plain_loop_and_leaves_the_network_in_training() -> None:
    judge = proxy()
    with judge.device.seeded(0):
        network = build(TINY, num_classes=10, in_channels=1)
    settings = {"batch_size": 50, "resolution": 16}
    correct = total = 0
    network.eval()
    with torch.no_grad():
        for images, labels in judge.data.minival.in_order(batch_size=7, resolution=16):
            correct += int((network(images).argmax(1) == labels).sum())
            total += len(labels)
    network.train()
    score = evaluate(network, judge.data.minival, mode=PLAIN, device=judge.device, **settings)
    assert (score.num_correct, score.num_images) == (correct, total)
    assert network.training


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["float32-channels_last", "bfloat16-channels_last", "float16-channels_last"])
def test_on_cuda_digits_are_learnt_and_one_seed_gives_nearly_one_result(mode: str) -> None:
    judge = AccuracyProxy(
        data=DataConfig(), train=TrainConfig(), fidelity=Fidelity(epochs=5, resolution=16),
        device=find_device("cuda"), mode=parse_mode(mode),
    )  # fmt: skip
    results = [judge.evaluate(TINY, seed=0).accuracy for _ in range(2)]
    assert min(results) > 0.6
    assert abs(results[0] - results[1]) < 0.1


@pytest.mark.gpu
def test_on_cuda_a_real_lack_of_memory_is_infeasible_and_the_next_candidate_fits() -> None:
    device = find_device("cuda")
    judge = AccuracyProxy(
        data=DataConfig(), train=TrainConfig(), fidelity=Fidelity(epochs=1, resolution=16), device=device
    )
    torch.cuda.set_per_process_memory_fraction(1e-4, device.torch_device)
    try:
        huge = parse("stem512-er_r8_k3_s1_e6_c512-head1280@16")
        with pytest.raises(InfeasibleError, match="out of memory on cuda"):
            judge.evaluate(huge)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device.torch_device)
    assert judge.evaluate(TINY).num_images == 179
