"""Blur and random erasing of crops: what they change, how often, and in which models."""

import pytest
import torch
from torch.nn import functional as F

from clsa_search.modeling.crop_augmentation import (
    AREA,
    ASPECT,
    RESOLUTIONS,
    RandomBlur,
    RandomErasing,
)

SIZE = (64, 32)


def make_crops(count=8, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(count, 3, *SIZE, generator=generator) + 0.5).to(dtype)


def build_both(probability=1.0):
    return [
        RandomErasing(probability=probability),
        RandomBlur(probability=probability, crop_size=SIZE),
    ]


@pytest.mark.parametrize("index", [0, 1], ids=["erasing", "blur"])
def test_evaluation_changes_nothing_and_draws_nothing(index):
    augmentation, crops = build_both()[index].eval(), make_crops()
    state = torch.get_rng_state()
    assert augmentation(crops) is crops
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("index", [0, 1], ids=["erasing", "blur"])
def test_a_seed_gives_the_same_crops_and_the_input_stays(index):
    augmentation, crops = build_both(0.5)[index], make_crops()
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(augmentation(crops))
    assert results[0].equal(results[1]) and not results[0].equal(results[2])
    assert crops.equal(make_crops())


@pytest.mark.parametrize("index", [0, 1], ids=["erasing", "blur"])
def test_the_probability_is_the_share_of_changed_crops(index):
    torch.manual_seed(0)
    crops = make_crops(2000)
    changed = (build_both(0.3)[index](crops) != crops).flatten(1).any(dim=1)
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("index", [0, 1], ids=["erasing", "blur"])
@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_few_crops_and_half_precision(index, count, dtype):
    crops = make_crops(count, dtype)
    result = build_both()[index](crops)
    assert result.shape == crops.shape and result.dtype == dtype
    assert result.isfinite().all()


def test_what_is_erased_is_one_rectangle_of_the_published_sizes():
    torch.manual_seed(0)
    crops = make_crops(500)
    erased = RandomErasing(probability=1.0)(crops) == 0
    assert erased.all(dim=1).equal(erased.any(dim=1))  # all channels alike
    areas, aspects = [], []
    for mask in erased[:, 0]:
        rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
        height, width = (int(x[-1] - x[0]) + 1 for x in (rows, columns))
        assert mask.sum() == height * width
        areas.append(height * width / mask.numel())
        aspects.append(height / width)
    # sides are whole pixels
    assert AREA[0] * 0.8 < min(areas) and max(areas) < AREA[1] * 1.05
    assert ASPECT[0] * 0.8 < min(aspects) and max(aspects) < ASPECT[1] * 1.25
    assert max(areas) > 0.3 and min(areas) < 0.05


def test_every_place_of_a_crop_can_be_erased():
    torch.manual_seed(0)
    erased = RandomErasing(probability=1.0)(make_crops(2000)) == 0
    assert erased.any(dim=0).all()


def test_what_is_not_erased_stays():
    torch.manual_seed(0)
    crops = make_crops()
    result = RandomErasing(probability=1.0)(crops)
    assert result[result != 0].equal(crops[result != 0])


def test_a_crop_too_small_for_a_rectangle_stays():
    crops = torch.ones(4, 3, 1, 1)
    assert RandomErasing(probability=1.0)(crops).equal(crops)


def test_blur_is_scaling_down_and_up():
    torch.manual_seed(0)
    crops = make_crops(40)
    candidates = []
    for resolution in RESOLUTIONS:
        small = [round(side * resolution) for side in SIZE]
        scaled = F.interpolate(crops, small, mode="bilinear", antialias=True)
        candidates.append(F.interpolate(scaled, SIZE, mode="bilinear"))
    result = RandomBlur(probability=1.0, crop_size=SIZE)(crops)
    differences = (torch.stack(candidates) - result).abs().amax(dim=(2, 3, 4))
    nearest, resolutions = differences.min(dim=0)
    assert nearest.max() < 1e-5
    assert len(set(resolutions.tolist())) > len(RESOLUTIONS) / 2


def test_blur_leaves_a_plain_crop_and_removes_detail():
    torch.manual_seed(0)
    blur = RandomBlur(probability=1.0, crop_size=SIZE)
    plain = torch.full((4, 3, *SIZE), 7.0)
    torch.testing.assert_close(blur(plain), plain)
    crops = make_crops()
    assert (blur(crops).flatten(1).std(dim=1) < crops.flatten(1).std(dim=1)).all()


def test_autocast_leaves_blur_in_float32():
    crops, blur = make_crops(), RandomBlur(probability=1.0, crop_size=SIZE)
    torch.manual_seed(0)
    expected = blur(crops)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(blur(crops), expected)
