"""The published ladders of sizes, EfficientNet's and EfficientNetV2's, and where a network stands on one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from . import catalog
from .architecture import Architecture
from .messages import did_you_mean
from .scaling import (
    MAX_TEST_SIZE,
    TRAIN_SHARE,
    Head,
    LateGrowth,
    Stem,
    base_layers,
    cap_resolution,
    compound,
    train_size_for,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One size of a ladder: what leads to it from the base."""

    name: str
    phi: float
    """Steps from the base, as EfficientNet counts its sizes: B0 is 0, B7 is 7."""
    width: float
    depth: float
    test_size: int
    """Pixels per side at which it is evaluated, before any cap."""
    published_train_size: int | None = None
    """Where it departs from four fifths of the test size."""
    stem: Stem = "scaled"
    head: Head = "scaled"
    late_growth: LateGrowth | None = None
    exceptions: tuple[tuple[int, int], ...] = ()
    """Stage number and channels, where the published network departs from the rule."""

    def sizes(self, max_size: int | None) -> tuple[int, int]:
        """Training and test size under a cap."""
        test_size = cap_resolution(self.test_size, max_size)
        train_size = self.published_train_size or train_size_for(self.test_size)
        return (train_size if test_size == self.test_size else min(train_size, train_size_for(test_size))), test_size


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """A base network and the sizes its authors made of it."""

    name: str
    base: Architecture
    rungs: tuple[Rung, ...]
    """Small to large."""
    knots: tuple[str, ...]
    """Sizes that all others lie between: those without numbers of their own."""
    late_above: float | None
    """φ above which late stages grow; None: never."""
    max_size: int | None
    """Cap on the test size; None where there is none."""
    train_share: float
    """Training size ÷ test size, where a size has no training size of its own."""
    keep_nine_tenths: bool
    source: str

    def rung(self, name: str) -> Rung:
        """
        Raises:
            ValueError: If no size has this name.
        """
        for rung in self.rungs:
            if rung.name == name:
                return rung
        raise ValueError(f"no size {name!r}; {did_you_mean(name, [rung.name for rung in self.rungs])}")

    def member(self, name: str, max_size: int | None = None) -> Architecture:
        """The published network of a size, made by rule from the base; by default without a cap.

        >>> EFFICIENTNET_V2.member("m") == catalog.get("efficientnetv2-m").architecture
        True

        Raises:
            ValueError: If no size has this name.
        """
        rung = self.rung(name)
        return self.scaled(self.base, rung, resolution=rung.sizes(max_size)[0])

    def scaled(self, base: Architecture, rung: Rung, *, resolution: int) -> Architecture:
        """A base network of this ladder's widths at a size of it."""
        return compound(
            base,
            width=rung.width,
            depth=rung.depth,
            resolution=resolution,
            stem=rung.stem,
            head=rung.head,
            late_growth=rung.late_growth,
            keep_nine_tenths=self.keep_nine_tenths,
            exceptions=dict(rung.exceptions),
        )

    def standing(self, architecture: Architecture, scale: tuple[float, float] | None = None) -> Rung | None:
        """The size whose widths and strides a network has, whatever its blocks and layers; None if none.

        V2-B0 and B1 have the same widths: of such the one nearer in layers.

        Args:
            architecture: The network.
            scale: Width and depth that its space is known to have: no size of others will do.
        """
        layers = _num_layers(architecture)
        alike = [
            rung.name
            for rung in self.rungs
            if scale in (None, (rung.width, rung.depth))
            and _outline(self._published[rung.name]) == _outline(architecture)
        ]
        nearest = min(alike, key=lambda name: abs(_num_layers(self._published[name]) - layers), default=None)
        return None if nearest is None else self.rung(nearest)

    def unscaled(self, architecture: Architecture, rung: Rung) -> Architecture:
        """The base of a network that stands at a size: layers ÷ depth, late growth undone, the ladder's base widths.

        >>> EFFICIENTNET_V2.unscaled(catalog.get("efficientnetv2-l").architecture, EFFICIENTNET_V2.rung("l")).stages[4]
        Stage(block='ir', num_repeats=5, kernel_size=3, stride=1, expand_ratio=6, out_channels=112, se_ratio=0.25)

        Raises:
            ValueError: If the network does not stand there.
        """
        base = shallower(architecture, rung.depth)
        if rung.late_growth:
            base = rung.late_growth.undo(base)
        if len(base.stages) != len(self.base.stages):
            raise ValueError(
                f"a network at size {rung.name} of {self.name} has another number of stages, got {architecture}"
            )
        stages = tuple(
            replace(stage, out_channels=ours.out_channels)
            for stage, ours in zip(base.stages, self.base.stages, strict=True)
        )
        return replace(self.base, stages=stages)

    @cached_property
    def _published(self) -> Mapping[str, Architecture]:
        return {rung.name: self.member(rung.name) for rung in self.rungs}


def shallower(architecture: Architecture, depth: float) -> Architecture:
    """A network before its layers were multiplied by ``depth``; its widths stay.

    Raises:
        ValueError: If depth is not positive and finite.
    """
    stages = tuple(replace(stage, num_repeats=base_layers(stage.num_repeats, depth)) for stage in architecture.stages)
    return replace(architecture, stages=stages)


def _outline(architecture: Architecture) -> tuple[object, ...]:
    stages = tuple((stage.out_channels, stage.stride) for stage in architecture.stages)
    return architecture.stem_channels, architecture.head_channels, stages


def _num_layers(architecture: Architecture) -> int:
    return sum(stage.num_repeats for stage in architecture.stages)


def _v1(name: str, phi: int, width: float, depth: float, size: int, train_size: int | None = None) -> Rung:
    return Rung(name=name, phi=phi, width=width, depth=depth, test_size=size, published_train_size=train_size or size)


EFFICIENTNET = Ladder(
    name="efficientnet",
    base=catalog.get("efficientnet-b0").architecture,
    knots=tuple(f"b{number}" for number in range(9)),
    late_above=None,
    max_size=None,
    train_share=1.0,
    keep_nine_tenths=True,
    source="google/automl, efficientnet_builder.py; L2's sizes are Noisy Student's (arXiv:1911.04252)",
    rungs=(
        _v1("b0", 0, 1.0, 1.0, 224),
        _v1("b1", 1, 1.0, 1.1, 240),
        _v1("b2", 2, 1.1, 1.2, 260),
        _v1("b3", 3, 1.2, 1.4, 300),
        _v1("b4", 4, 1.4, 1.8, 380),
        _v1("b5", 5, 1.6, 2.2, 456),
        _v1("b6", 6, 1.8, 2.6, 528),
        _v1("b7", 7, 2.0, 3.1, 600),
        _v1("b8", 8, 2.2, 3.6, 672),
        _v1("l2", 11, 4.3, 5.3, 800, 475),
    ),
)

# S, M and L take the multipliers and sizes of EfficientNet-B4, B5 and B7; L's 600 pixels, 608 as a whole size, are
# what the cap clips. XL's own numbers: more depth at L's width, a base layer more in stage 4, two widths, 512 pixels.
EFFICIENTNET_V2 = Ladder(
    name="efficientnetv2",
    base=catalog.get("efficientnetv2-b0").architecture,
    knots=("b0", "b1", "b2", "b3", "s", "m", "l"),
    late_above=4,
    max_size=MAX_TEST_SIZE,
    train_share=TRAIN_SHARE,
    keep_nine_tenths=False,
    source="google/automl, effnetv2_configs.py; S of the paper's first version: arXiv:2104.00298v1, Table 4",
    rungs=(
        Rung(name="b0", phi=0, width=1.0, depth=1.0, test_size=224, published_train_size=192),
        Rung(name="b1", phi=1, width=1.0, depth=1.1, test_size=240),
        Rung(name="b2", phi=2, width=1.1, depth=1.2, test_size=260),
        Rung(name="b3", phi=3, width=1.2, depth=1.4, test_size=300),
        Rung(
            name="s", phi=4, width=1.4, depth=1.8, test_size=384, published_train_size=300,
            stem="first-stage", head="kept", exceptions=((4, 128), (6, 256)),
        ),
        Rung(
            name="s-v1", phi=4, width=1.4, depth=1.8, test_size=384, published_train_size=300,
            stem="first-stage", exceptions=((4, 128),),
        ),
        Rung(
            name="m", phi=5, width=1.6, depth=2.2, test_size=480,
            stem="first-stage", head="kept", late_growth=LateGrowth(), exceptions=((4, 160),),
        ),
        Rung(
            name="l", phi=7, width=2.0, depth=3.1, test_size=608,
            stem="first-stage", head="kept", late_growth=LateGrowth(),
        ),
        Rung(
            name="xl", phi=8, width=2.0, depth=4.0, test_size=512, published_train_size=384,
            stem="first-stage", head="kept", late_growth=LateGrowth(extra_layers=(1, 1, 0)),
            exceptions=((5, 256), (6, 512)),
        ),
    ),
)  # fmt: skip

LADDERS: Mapping[str, Ladder] = {ladder.name: ladder for ladder in (EFFICIENTNET, EFFICIENTNET_V2)}
