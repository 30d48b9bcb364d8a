"""From records to model inputs: boxes follow their image, messages name the file."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import transforms as T

from clsa_search.data.dataset_mapper import PersonSearchDatasetMapper
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED


@pytest.fixture
def record(tmp_path):
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    image[10:30, 6:16] = (10, 20, 30)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    return {
        "file_name": str(tmp_path / "a.png"),
        "image_id": "a",
        "height": 40,
        "width": 60,
        "annotations": [
            {"bbox": [6.0, 10.0, 16.0, 30.0], "category_id": 0, "person_id": 4},
            {"bbox": [20.0, 0.0, 60.0, 40.0], "category_id": 0, "person_id": UNLABELED},
        ],
        "queries": [{"query_id": 9, "bbox": [6.0, 10.0, 16.0, 30.0], "person_id": 4}],
    }


def build(is_train, *augmentations, gt_boxes=False):
    return PersonSearchDatasetMapper(
        is_train=is_train,
        augmentations=list(augmentations),
        image_format="BGR",
        gt_boxes=gt_boxes,
    )


def test_training_boxes_follow_flip_and_resize(record):
    flip = T.RandomFlip(prob=1.0)
    example = build(True, T.Resize((80, 120)), flip)(record)
    assert example["image"].shape == (3, 80, 120)
    people = example["instances"]
    assert people.gt_boxes.tensor.tolist() == [[88, 20, 108, 60], [0, 0, 80, 80]]
    assert people.gt_pids.tolist() == [4, UNLABELED] and people.gt_classes.tolist() == [0, 0]
    inside = example["image"][:, 25:55, 92:104].reshape(3, -1)
    assert torch.equal(inside, torch.tensor([[10], [20], [30]], dtype=torch.uint8).expand(3, 360))


def test_query_boxes_follow_the_resizing(record):
    example = build(False, T.Resize((20, 30)))(record)
    assert example["query_boxes"].tensor.tolist() == [[3, 5, 8, 15]]
    assert example["query_ids"].tolist() == [9]
    assert (example["height"], example["width"], example["image_id"]) == (40, 60, "a")
    assert not {"instances", "annotations", "queries", "gt_boxes"} & set(example)


def test_ground_truth_boxes_follow_the_resizing(record):
    example = build(False, T.Resize((20, 30)), gt_boxes=True)(record)
    assert example["gt_boxes"].tensor.tolist() == [[3, 5, 8, 15], [10, 0, 30, 20]]
    assert example["query_ids"].tolist() == [9] and len(example["query_boxes"]) == 1
    record["annotations"] = []
    assert build(False, gt_boxes=True)(record)["gt_boxes"].tensor.shape == (0, 4)


def test_an_image_without_queries_carries_no_query_fields(record):
    del record["queries"]
    assert not {"query_boxes", "query_ids"} & set(build(False)(record))


def test_an_image_without_boxes_is_ordinary(record):
    record["annotations"] = []
    people = build(True)(record)["instances"]
    assert len(people) == 0 and people.gt_boxes.tensor.shape == (0, 4)


def test_boxes_cropped_away_are_dropped_with_their_identity(record):
    class LeftHalf(T.Augmentation):
        def get_transform(self, image):
            return T.CropTransform(0, 0, 18, 40)

    people = build(True, LeftHalf())(record)["instances"]
    assert people.gt_pids.tolist() == [4]


def test_random_crops_are_detectron2s(record, tiny_cfg):
    tiny_cfg.INPUT.CROP.ENABLED = True
    mapper = PersonSearchDatasetMapper(tiny_cfg, is_train=True)
    sizes = {mapper(record)["image"].shape[2] for _ in range(9)}
    assert len(sizes) > 1
    assert not any(
        "Crop" in str(a) for a in PersonSearchDatasetMapper(tiny_cfg, False).augmentations.augs
    )


def test_the_record_is_not_modified(record):
    before = repr(record)
    build(True, T.RandomFlip(prob=1.0))(record)
    build(False)(record)
    assert repr(record) == before


@pytest.mark.parametrize("fault", ["missing", "empty", "cut short", "not an image", "other size"])
def test_unusable_images_are_named(record, fault, tmp_path):
    path = tmp_path / "a.png"
    content = path.read_bytes()
    if fault == "missing":
        path.unlink()
    elif fault == "other size":
        record["width"] = 61
    else:
        replaced = {"empty": b"", "cut short": content[:60], "not an image": b"people in a street"}
        path.write_bytes(replaced[fault])
    with pytest.raises(InputError, match="a.png"):
        build(True)(record)
