"""What the catalog says about a published network, and where each number was read."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .architecture import Architecture

RECIPES: Mapping[str, str] = MappingProxyType(
    {
        "imagenet-1k": "ImageNet-1k alone; V1 with plain crops and flips, V2 with the paper's own training",
        "autoaugment": "ImageNet-1k with AutoAugment (the recipe of V1's paper)",
        "randaugment": "ImageNet-1k with RandAugment, trained by the authors",
        "advprop": "ImageNet-1k with AdvProp, adversarial examples behind a second batch norm (arXiv:1911.09665)",
        "noisy-student": "Noisy Student with 300 million unlabelled JFT images (arXiv:1911.04252)",
        "imagenet-21k": "pretrained on ImageNet-21k, fine-tuned on ImageNet-1k",
        "timm-imagenet-12k": "timm's training: pretrained on ImageNet-12k, fine-tuned on ImageNet-1k",
        "timm-ra": "timm's training on ImageNet-1k, its recipe ra (RandAugment)",
        "timm-ra2": "timm's training on ImageNet-1k, its recipe ra2",
        "timm-ra4": "timm's training on ImageNet-1k, its recipe ra4 over 3,600 epochs",
        "timm-ft": "timm's weights tagged ft (fine-tuned; the recipe is not stated)",
        "torchvision": "torchvision's own training on ImageNet-1k",
    }
)

_TIMM_RECIPES = {
    "in1k": "imagenet-1k",
    "aa_in1k": "autoaugment",
    "ap_in1k": "advprop",
    "ns_jft_in1k": "noisy-student",
    "ns_jft_in1k_475": "noisy-student",
    "in21k_ft_in1k": "imagenet-21k",
    "sw_in12k_ft_in1k": "timm-imagenet-12k",
    "ra2_in1k": "timm-ra2",
    "ra4_e3600_r224_in1k": "timm-ra4",
    "ra4_e3600_r240_in1k": "timm-ra4",
    "ft_in1k": "timm-ft",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedAccuracy:
    """ImageNet validation accuracy of one training of a network, as published.

    Raises:
        ValueError: If the accuracy is no fraction or the recipe is unknown.
    """

    recipe: str
    """A key of `RECIPES`, which says what it means."""
    top1: float
    """A fraction: 0.839, not 83.9."""
    test_size: int
    """Pixels per side of the evaluated crops."""
    source: str

    def __post_init__(self) -> None:
        if not 0 < self.top1 < 1:
            raise ValueError(f"top1 must be a fraction between 0 and 1, got {self.top1}")
        if self.recipe not in RECIPES:
            raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {self.recipe!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """A published network with what its authors say of it beside what it counts exactly."""

    name: str
    architecture: Architecture
    """Its resolution is the published training size."""
    test_size: int
    """Pixels per side at which the authors evaluate it."""
    params: int
    """Trainable parameters for 1000 classes, as timm and torchvision build it."""
    published_params_m: float | None
    """Millions, rounded as published; None if unknown."""
    published_macs_b: float | None
    """Billions of multiply-adds at the test size, as published (papers call them FLOPs); None if unknown."""
    source: str
    """Of the published parameters, multiply-adds and sizes."""
    accuracies: tuple[PublishedAccuracy, ...]


def published(recipe: str, test_size: int, top1: float, source: str) -> PublishedAccuracy:
    """An accuracy in one line of a table."""
    return PublishedAccuracy(recipe=recipe, top1=top1, test_size=test_size, source=source)


def timm_evaluated(weights: str, test_size: int, top1: float) -> PublishedAccuracy:
    """An accuracy that timm measured on weights it names, e.g. "tf_efficientnet_b0.aa_in1k"."""
    model, tag = weights.split(".")
    # timm's own "ra" and the authors' RandAugment carry the same tag; the authors' models are called tf_.
    authors = "randaugment" if model.startswith("tf_") else "timm-ra"
    recipe = authors if tag == "ra_in1k" else _TIMM_RECIPES[tag]
    return published(recipe, test_size, top1, f"timm {weights}, results-imagenet.csv at aa4b5850")


def torchvision_trained(weights: str, test_size: int, top1: float) -> PublishedAccuracy:
    """An accuracy of weights that torchvision trained itself (those it ported repeat the authors')."""
    return published("torchvision", test_size, top1, f"torchvision 0.29.1 {weights}")
