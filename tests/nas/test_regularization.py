"""Regularisation by size: the paper's Table 6 for S, M and L, and what is sane between and beyond them."""

import families
import numpy as np
import pytest

from nas.family.source import source_of_network
from nas.regularization import Regularization, regularization_for
from search_spaces import catalog
from search_spaces.ladders import EFFICIENTNET_V2

# arXiv:2104.00298v1, Table 6: final RandAugment, mixup α and dropout; the first are 5, 0 and 0.1.
TABLE_6 = {"s": (15, 0, 0.3), "m": (20, 0.2, 0.4), "l": (25, 0.4, 0.5)}

CLASSIFIER = 1000 * (1280 + 1)


def settings(growth: float, size: int = 384) -> Regularization:
    return regularization_for(growth, train_size=size, smallest_train_size=300, total_stride=8)


@pytest.mark.parametrize(("name", "finals"), TABLE_6.items())
def test_the_papers_table(name: str, finals: tuple[float, float, float]) -> None:
    params = catalog.get(f"efficientnetv2-{name}").params - CLASSIFIER
    train_size = EFFICIENTNET_V2.rung(name).sizes(480)[0]
    found = settings(params / (21_458_488 - CLASSIFIER), train_size)
    assert found == Regularization(
        image_size=(128, train_size), randaugment=(5, finals[0]), mixup=(0, finals[1]), dropout=(0.1, finals[2])
    )


@pytest.mark.parametrize("num_classes", [2, 10, 1000, 21_843])
def test_the_papers_table_holds_for_any_number_of_classes(num_classes: int) -> None:
    source = source_of_network(families.S, num_classes=num_classes, in_channels=3, batch_size=2)
    found = [member.regularization for member in families.family_of(source).members]
    assert [(each.randaugment[1], each.mixup[1], each.dropout[1]) for each in found] == list(TABLE_6.values())


def test_larger_networks_are_regularised_more_and_never_beyond_reason() -> None:
    growths = np.geomspace(1e-4, 1e4, 400)
    found = [settings(float(growth)) for growth in growths]
    for name, least, most in (("randaugment", 5, 30), ("mixup", 0, 1), ("dropout", 0.1, 0.7)):
        finals = [getattr(each, name)[1] for each in found]
        assert finals == sorted(finals)
        assert (finals[0], finals[-1]) == (least, most)
        assert {getattr(each, name)[0] for each in found} == {least}


def test_between_s_and_m_it_lies_between_theirs() -> None:
    found = settings(1.6)
    assert 15 < found.randaugment[1] < 20
    assert 0 < found.mixup[1] < 0.2
    assert 0.3 < found.dropout[1] < 0.4


@pytest.mark.parametrize(("smallest", "first"), [(300, 128), (224, 96), (32, 16), (8, 8), (600, 256)])
def test_the_first_stage_is_smaller_by_as_much_as_in_the_paper(smallest: int, first: int) -> None:
    found = regularization_for(1.0, train_size=smallest, smallest_train_size=smallest, total_stride=8)
    assert found.image_size == (first, smallest)
    assert abs(first - smallest * 128 / 300) <= 4 or first == 8


def test_progressive_learning_never_shrinks_its_images() -> None:
    """A member that is smaller than the family's S may train on images smaller than S's first stage."""
    assert regularization_for(0.1, train_size=96, smallest_train_size=300, total_stride=8).image_size == (96, 96)


@pytest.mark.parametrize(("stride", "first"), [(8, 16), (16, 16), (32, 32)])
def test_no_stage_is_smaller_than_the_total_stride(stride: int, first: int) -> None:
    found = regularization_for(1.0, train_size=32, smallest_train_size=32, total_stride=stride)
    assert found.image_size == (first, 32)
