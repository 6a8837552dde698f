"""Schedules as the paper and its code have them, and for any other network, data set, memory and processes."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import families
import pytest
from tiny_training import ARCHITECTURE

from nas.family.members import dump_family
from nas.full_training.config import TrainingConfig, make_training_config
from nas.full_training.request import request_training
from nas.full_training.stages import stages_of
from nas.recipes import TRAININGS, find_recipe, recipe_names
from nas.run import Run
from proxies.training.progressive import ProgressiveStage
from search_spaces import catalog

IMAGENET = 1_281_167
PUBLISHED = ("s", "m", "l")

# arXiv:2104.00298v1, Table 6 and Algorithm 1; the released code's sizes are one step ahead, and its dropout constant.
SIZES = {
    "paper": {"s": (128, 185, 243, 300), "m": (128, 212, 296, 380), "l": (128, 212, 296, 380)},
    "code": {"s": (171, 214, 257, 300), "m": (192, 256, 320, 384), "l": (192, 256, 320, 384)},
}
RANDAUGMENT = {"paper": {"s": 15, "m": 20, "l": 25}, "code": {"s": 10, "m": 15, "l": 20}}
MIXUP = {"paper": {"s": 0, "m": 0.2, "l": 0.4}, "code": {"s": 0, "m": 0.2, "l": 0.5}}
DROPOUT = {
    "paper": {"s": (0.1, 0.3), "m": (0.1, 0.4), "l": (0.1, 0.5)},
    "code": {"s": (0.2, 0.2), "m": (0.3, 0.3), "l": (0.4, 0.4)},
}


def config_of(architecture: str = ARCHITECTURE, **overrides: object) -> TrainingConfig:
    """Of keys with "__" for a dot."""
    keys = {name.replace("__", "."): value for name, value in overrides.items()}
    return make_training_config({"architecture": architecture}, keys)


def plan(
    config: TrainingConfig,
    *,
    num_images: int = IMAGENET,
    peak_memory: Callable[[ProgressiveStage], int] = lambda stage: 0,
    memory_bytes: float = 1.0,
    world_size: int = 1,
) -> tuple[ProgressiveStage, ...]:
    return stages_of(
        config, num_images=num_images, peak_memory=peak_memory, memory_bytes=memory_bytes, world_size=world_size
    )


def by_pixels(stage: ProgressiveStage) -> int:
    """A byte for each pixel of a part."""
    return -(-stage.batch_size // stage.micro_batches) * stage.resolution**2


def sizes(stages: tuple[ProgressiveStage, ...]) -> list[int]:
    return [stage.resolution for stage in stages]


def line(first: float, last: float, count: int = 4) -> list[float]:
    """Algorithm 1, in exact steps of thirds."""
    return [pytest.approx(first + (last - first) * place / (count - 1), abs=1e-9) for place in range(count)]


# The published


@pytest.mark.parametrize("preset", ["paper", "code"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_schedules(preset: str, name: str) -> None:
    config = request_training(f"efficientnetv2-{name}", find_recipe(preset, TRAININGS), {"data.source": "digits"})
    stages = plan(config)
    assert tuple(sizes(stages)) == SIZES[preset][name]
    assert [stage.epochs for stage in stages] == [87, 88, 87, 88]
    assert {stage.batch_size for stage in stages} == {4096}
    assert [stage.randaugment for stage in stages] == line(5, RANDAUGMENT[preset][name])
    assert [stage.mixup for stage in stages] == line(0, MIXUP[preset][name])
    assert [stage.cutmix for stage in stages] == line(0, MIXUP[preset][name] if preset == "code" else 0)
    assert [stage.drop_rate for stage in stages] == line(*DROPOUT[preset][name])
    assert {(stage.lr_scale, stage.cutout) for stage in stages} == {(1.0, 0.0)}
    train = config.train
    assert (train.optimizer, train.optimizer_eps, train.weight_decay) == ("rmsproptf", 1e-3, 1e-5)
    assert (train.lr, train.lr_decay, train.lr_decay_epochs, train.warmup_epochs) == (0.256, 0.97, 2.4, 5)
    assert (train.ema_decay, train.drop_path_rate, train.label_smoothing) == (0.9999, 0.2, 0.1)
    # TensorFlow's momentum is what stays, PyTorch's what comes.
    assert train.norm_momentum == {"paper": 0.01, "code": 0.1}[preset]


@pytest.mark.parametrize("preset", ["paper", "code"])
def test_the_published_are_for_the_published_networks(preset: str) -> None:
    with pytest.raises(ValueError, match=f"^progressive.preset {preset} is for efficientnetv2-s, .* take auto$"):
        plan(config_of(progressive__preset=preset))


@pytest.mark.parametrize("name", recipe_names(TRAININGS))
@pytest.mark.parametrize("network", PUBLISHED)
def test_every_installed_recipe_gives_a_schedule(name: str, network: str) -> None:
    config = request_training(f"efficientnetv2-{network}", find_recipe(name, TRAININGS), {"data.source": "digits"})
    stages = plan(config)
    steps = sum(stage.epochs * (IMAGENET // stage.batch_size) for stage in stages)
    if config.steps is None:
        assert sum(stage.epochs for stage in stages) == config.epochs
    else:
        assert config.steps <= steps < config.steps + IMAGENET // config.train.batch_size
    last = 224 if name == "imagenet21k" else SIZES["paper" if name == "paper" else "code"][network][-1]
    assert sizes(stages)[-1] == last


# Any other


def test_auto_is_the_papers_where_it_has_numbers() -> None:
    """But for M and L's size, which their architectures have as 384."""
    for name in PUBLISHED:
        architecture = str(catalog.get(f"efficientnetv2-{name}").architecture)
        stages = plan(config_of(architecture, epochs=350))
        assert stages[-1].randaugment == pytest.approx(RANDAUGMENT["paper"][name], abs=0.05)
        assert stages[-1].mixup == pytest.approx(MIXUP["paper"][name], abs=0.01)
        assert stages[-1].drop_rate == pytest.approx(DROPOUT["paper"][name][1], abs=0.01)
        assert sizes(stages)[-1] == {"s": 300, "m": 384, "l": 384}[name]


def test_fewer_images_ask_for_more_and_fewer_epochs_for_less() -> None:
    architecture = str(catalog.get("efficientnetv2-b0").architecture)

    def strength(num_images: int, epochs: int) -> float:
        return plan(config_of(architecture, epochs=epochs), num_images=num_images)[-1].randaugment

    assert strength(50_000, 350) > strength(IMAGENET, 350)
    assert strength(50_000, 30) < strength(50_000, 350)


def test_sizes_grow_and_no_stage_is_smaller_than_the_total_stride() -> None:
    found = sizes(plan(config_of(progressive__num_stages=3)))
    assert found == sorted(found)
    assert found[0] >= 8
    assert found[-1] == 24


def test_what_is_asked_for_outweighs_the_preset() -> None:
    stages = plan(
        config_of(
            progressive__image_size=[16, 20], progressive__randaugment=[1.0, 4.0], progressive__mixup=[0.1, 0.1],
            progressive__cutmix=[0.0, 0.6], progressive__dropout=[0.0, 0.3], progressive__cutout=0.5,
        )
    )  # fmt: skip
    assert sizes(stages) == [16, 17, 19, 20]
    assert [stage.randaugment for stage in stages] == line(1, 4)
    assert [stage.mixup for stage in stages] == line(0.1, 0.1)
    assert [stage.cutmix for stage in stages] == line(0, 0.6)
    assert [stage.drop_rate for stage in stages] == line(0, 0.3)
    assert {stage.cutout for stage in stages} == {0.5}


def test_without_adapting_regularisation_is_the_last_throughout() -> None:
    asked: dict[str, object] = {"progressive__randaugment": [5.0, 15.0], "progressive__mixup": [0.0, 0.2]}
    adaptive = plan(config_of(**asked))
    plain = plan(config_of(progressive__adaptive=False, **asked))
    assert sizes(plain) == sizes(adaptive)
    assert {(stage.randaugment, stage.mixup, stage.drop_rate) for stage in plain} == {
        (adaptive[-1].randaugment, adaptive[-1].mixup, adaptive[-1].drop_rate)
    }


def test_fixed_size() -> None:
    (plain,) = plan(config_of(progressive__resize="fixed", progressive__adaptive=False))
    assert (plain.epochs, plain.resolution) == (30, 24)
    adaptive = plan(config_of(progressive__resize="fixed", progressive__randaugment=[5.0, 15.0]))
    assert sizes(adaptive) == [24] * 4
    assert len({stage.randaugment for stage in adaptive}) == 4


@pytest.mark.parametrize("adaptive", [True, False])
def test_random_sizes(adaptive: bool) -> None:
    """Every size about as often, by the seed, and with the strength of its stage."""
    progressive = plan(config_of(epochs=200, progressive__adaptive=adaptive))
    drawn = plan(config_of(epochs=200, progressive__resize="random", progressive__adaptive=adaptive))
    assert sum(stage.epochs for stage in drawn) == 200
    epochs = Counter[int]()
    for stage in drawn:
        epochs[stage.resolution] += stage.epochs
    assert set(epochs) == set(sizes(progressive))
    assert all(25 <= count <= 80 for count in epochs.values()), "each is drawn 50 times in the mean, ± 6"
    strengths = {stage.resolution: stage.randaugment for stage in progressive}
    assert all(stage.randaugment == strengths[stage.resolution] for stage in drawn)
    again = plan(config_of(epochs=200, progressive__resize="random", progressive__adaptive=adaptive))
    other = plan(config_of(epochs=200, progressive__resize="random", progressive__adaptive=adaptive, seed=1))
    assert again == drawn
    assert sizes(other) != sizes(drawn)


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 7])
def test_every_stage_has_an_epoch_and_every_epoch_a_stage(epochs: int) -> None:
    stages = plan(config_of(epochs=epochs))
    assert len(stages) == min(4, epochs)
    assert sum(stage.epochs for stage in stages) == epochs
    assert max(stage.epochs for stage in stages) - min(stage.epochs for stage in stages) <= 1
    assert stages[-1].resolution == 24


def test_steps_become_whole_epochs() -> None:
    """The paper's 10,000 steps of 512 on CIFAR's 50,000 images: 97 a pass, so 104 passes."""
    config = config_of(steps=10_000, train__batch_size=512)
    assert sum(stage.epochs for stage in plan(config, num_images=50_000)) == 104
    # One pass of the whole of a set smaller than a batch is one step.
    assert sum(stage.epochs for stage in plan(config, num_images=500)) == 10_000


# Batches


def test_batches_grow_where_memory_allows_and_the_rate_with_them() -> None:
    config = config_of(
        batch="auto", train__batch_size=32, train__optimizer="rmsproptf", progressive__image_size=[8, 24],
        progressive__num_stages=3, lr_scaling="auto",
    )  # fmt: skip
    stages = plan(config, peak_memory=by_pixels, memory_bytes=100 * 24**2)
    assert sizes(stages) == [8, 16, 24]
    # 900, 225 and 100 images fit.
    assert [stage.batch_size for stage in stages] == [512, 128, 64]
    assert [stage.lr_scale for stage in stages] == [16, 4, 2]
    assert {stage.micro_batches for stage in stages} == {1}


@pytest.mark.parametrize(
    ("optimizer", "scaling", "expected"),
    [("rmsproptf", "auto", 4), ("sgd", "auto", 4), ("adamw", "auto", 2), ("lamb", "auto", 2), ("adamw", "linear", 4),
     ("sgd", "sqrt", 2), ("sgd", "none", 1)],
)  # fmt: skip
def test_the_rate_follows_the_batch(optimizer: str, scaling: str, expected: float) -> None:
    config = config_of(
        batch="auto", train__optimizer=optimizer, lr_scaling=scaling, train__batch_size=32, max_batch_size=128
    )
    assert {(stage.batch_size, stage.lr_scale) for stage in plan(config)} == {(128, expected)}


@pytest.mark.parametrize(("batch_size", "expected"), [(32, 1 / 128), (512, 0.125), (4096, 1)])
def test_the_papers_rate_is_for_the_papers_batch(batch_size: int, expected: float) -> None:
    """0.016 for each 256 images."""
    overrides = {"data.source": "digits", "train.batch_size": batch_size}
    config = request_training("efficientnetv2-s", find_recipe("paper", TRAININGS), overrides)
    stages = stages_of(config, num_images=1_281_167, peak_memory=lambda stage: 0, memory_bytes=1)
    assert {stage.lr_scale for stage in stages} == {expected}
    assert config.train.lr * expected == pytest.approx(0.016 * batch_size / 256)


def test_batches_stop_at_the_limit_and_leave_a_hundred_steps() -> None:
    config = config_of(batch="auto", train__batch_size=32, max_batch_size=200)
    assert {stage.batch_size for stage in plan(config)} == {128}
    assert {stage.batch_size for stage in plan(config, num_images=6400)} == {64}
    assert {stage.batch_size for stage in plan(config, num_images=6399)} == {32}
    assert {stage.batch_size for stage in plan(config, num_images=20)} == {20}, "no batch is larger than the set"


def test_what_does_not_fit_is_done_in_parts() -> None:
    config = config_of(train__batch_size=32, progressive__image_size=[8, 24], progressive__num_stages=3)
    stages = plan(config, peak_memory=by_pixels, memory_bytes=9 * 24**2)
    # 81, 20 and 9 images fit.
    assert [(stage.batch_size, stage.micro_batches, stage.lr_scale) for stage in stages] == [
        (32, 1, 1), (32, 2, 1), (32, 4, 1)
    ]  # fmt: skip
    hopeless = plan(config, peak_memory=by_pixels, memory_bytes=1)
    assert {stage.micro_batches for stage in hopeless} == {16}, "two images each, and the device has the last word"
    asked = plan(config_of(train__batch_size=32, micro_batches=3), peak_memory=by_pixels, memory_bytes=1)
    assert {stage.micro_batches for stage in asked} == {3}


def test_processes_share_a_batch() -> None:
    config = config_of(train__batch_size=32)
    assert {stage.batch_size for stage in plan(config, world_size=4)} == {32}
    hopeless = plan(config, world_size=4, peak_memory=by_pixels, memory_bytes=1)
    assert {stage.micro_batches for stage in hopeless} == {4}, "of the eight images of each process"


@pytest.mark.parametrize(("batch_size", "world_size"), [(32, 3), (2, 2), (6, 4)])
def test_a_batch_that_cannot_be_shared_is_refused(batch_size: int, world_size: int) -> None:
    message = f"train.batch_size must be a multiple of the {world_size} processes, 2 images for each, got {batch_size}"
    with pytest.raises(ValueError, match=f"^{message}$"):
        plan(config_of(train__batch_size=batch_size), world_size=world_size)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"progressive.randaugment": [5.0, 31.0]},
            r"progressive.randaugment.1: Input should be less than or equal to 30, got 31.0",
        ),
        ({"progressive.dropout": [0.0, 1.0]}, r"progressive.dropout.1: Input should be less than 1, got 1.0"),
        (
            {"progressive.mixup": [-0.1, 1.0]},
            r"progressive.mixup.0: Input should be greater than or equal to 0, got -0.1",
        ),
        ({"micro_batches": 17}, "micro_batches must be at least 1 and leave 2 images in each part, got 17"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        plan(make_training_config({"architecture": ARCHITECTURE}, overrides))
    assert "\n" not in str(caught.value)


# Networks that bring their settings along


def test_a_member_of_a_family_brings_its_ranges(tmp_path: Path) -> None:
    family = families.family_of(families.small_source(families.S))
    path = tmp_path / "family.yaml"
    path.write_text(dump_family(family), encoding="utf-8")
    for member in family.members:
        config = request_training(f"{path}:{member.name}", None, {"data.source": "digits"})
        ranges = member.regularization
        stages = plan(config)
        assert (stages[0].resolution, stages[-1].resolution) == ranges.image_size
        assert (stages[0].randaugment, stages[-1].randaugment) == ranges.randaugment
        assert (stages[0].drop_rate, stages[-1].drop_rate) == pytest.approx(ranges.dropout)
        assert stages[-1].mixup == ranges.mixup[1]
        assert config.test_size == member.test_size
        assert config.out == Path(f"runs/family-{member.name}")
        # What is typed outweighs it, and leaves the rest.
        typed = request_training(
            f"{path}:{member.name}", None, {"data.source": "digits", "progressive.mixup": [0.3, 0.3]}
        )
        assert {stage.mixup for stage in plan(typed)} == {0.3}
        assert plan(typed)[-1].resolution == ranges.image_size[1]


def test_the_best_of_a_search_brings_its_images(finished_run: Run) -> None:
    config = request_training(str(finished_run.directory.path), None, {})
    assert config.data == finished_run.config.data
    assert config.out == finished_run.directory.path / "training"
    other = request_training(str(finished_run.directory.path), None, {"data.source": "cifar10"})
    assert other.data.source == "cifar10"
    assert other.data.split_seed == finished_run.config.data.split_seed
