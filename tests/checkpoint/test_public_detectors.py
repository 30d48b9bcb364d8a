"""Public detectors in our model: the boxes and scores of people are the public models' own."""

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from clsa_search.checkpoint.detector_layouts import read_detector
from clsa_search.checkpoint.search_model import join_search_model
from clsa_search.config import add_clsa_search_config
from clsa_search.config_values import set_value
from clsa_search.errors import InputError
from clsa_search.modeling.optimize import batch_images, optimize_for_inference
from tests.support.public_detectors import (
    build_torchvision_model,
    build_zoo_model,
    save_zoo_file,
)
from tests.support.public_embedders import build_small_embedder

R50 = "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
FEW = ["MODEL.RPN.POST_NMS_TOPK_TEST", "60", "MODEL.DEVICE", "cpu"]
ALL = ["TEST.DETECTIONS_PER_IMAGE", "-1"]
ZOO = {
    R50: (["MODEL.RESNETS.WIDTH_PER_GROUP", "4"], 0),
    "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml": (["MODEL.RESNETS.NUM_GROUPS", "2"], 0),
    "LVISv0.5-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml": (
        ["MODEL.RESNETS.WIDTH_PER_GROUP", "4"],
        804,
    ),
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x.yaml": (["MODEL.RESNETS.WIDTH_PER_GROUP", "4"], 0),
}
"""Configs of Detectron2's zoo, KEY VALUE pairs that make them narrow, and the person's class."""


def build_ours(detector, *opts):
    """Return our model with a detector and a small embedder."""
    model = join_search_model([detector, build_small_embedder()], [*FEW, *opts])
    cfg = get_cfg()
    add_clsa_search_config(cfg)
    for key, value in model.config.items():
        set_value(cfg, key, value)
    ours = build_model(cfg).eval()
    ours.load_state_dict(model.tensors)
    return ours


def generate_inputs(*sizes):
    torch.manual_seed(1)
    return [{"image": torch.randint(0, 256, (3, *size)).float()} for size in sizes]


@torch.no_grad()
def find_people(model, inputs, person):
    found = [x["instances"] for x in model(inputs)]
    found = [x[x.pred_classes == person] for x in found]
    assert sum(map(len, found)) > 20
    return found


def assert_same_detections(found, expected, tolerance=0.0):
    for x, y in zip(found, expected, strict=True):
        assert len(x) == len(y) and not x.pred_classes.any()
        torch.testing.assert_close(x.scores, y.scores, atol=tolerance, rtol=0)
        boxes = x.pred_boxes.tensor, y.pred_boxes.tensor
        torch.testing.assert_close(*boxes, atol=100 * tolerance, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("config", ZOO)
def test_people_of_the_zoo_are_its_own(config, tmp_path):
    narrow, person = ZOO[config]
    public = build_zoo_model(config, *narrow, *FEW, *ALL, person=person)
    detector = read_detector(save_zoo_file(public, tmp_path / "zoo.pkl"))
    assert detector.config["MODEL.ROI_HEADS.PERSON_CLASS"] == person
    assert bool(detector.report) == ("COCO-Detection" not in config)
    inputs = generate_inputs((128, 160), (96, 140))
    expected = find_people(public, inputs, person)
    ours = build_ours(detector, *ALL)
    assert_same_detections([x["instances"] for x in ours(inputs)], expected)
    for cell, own in zip(
        public.proposal_generator.anchor_generator.cell_anchors,
        ours.proposal_generator.anchor_generator.cell_anchors,
        strict=True,
    ):
        assert torch.equal(cell, own)


@torch.no_grad()
def test_other_classes_take_no_place_among_the_detections(tmp_path):
    public = build_zoo_model(R50, *ZOO[R50][0], *FEW)
    public.roi_heads.box_predictor.cls_score.bias[0] -= 1.5
    detector = read_detector(save_zoo_file(public, tmp_path / "zoo.pkl"))
    public.roi_heads.box_predictor.test_topk_per_image = 20
    ours = build_ours(detector, "TEST.DETECTIONS_PER_IMAGE", "20")
    inputs = generate_inputs((128, 160))
    (found,) = [x["instances"] for x in public(inputs)]
    people = found[found.pred_classes == 0]
    assert 0 < len(people) < 20
    (own,) = [x["instances"] for x in ours(inputs)]
    assert len(people) < len(own) <= 20
    assert_same_detections([own[: len(people)]], [people])


@torch.no_grad()
def test_the_batched_and_the_optimized_detector_find_the_same(tmp_path):
    public = build_zoo_model(R50, *ZOO[R50][0], *FEW)
    ours = build_ours(read_detector(save_zoo_file(public, tmp_path / "zoo.pkl")))
    inputs = generate_inputs((128, 160), (128, 160), (96, 140))
    expected = [x["instances"] for x in ours(inputs)]
    assert sum(map(len, expected)) > 20
    batch_images(ours)
    assert ours.batched_detector is not None
    assert_same_detections([x["instances"] for x in ours(inputs)], expected, 1e-6)
    optimize_for_inference(ours)
    assert_same_detections([x["instances"] for x in ours(inputs)], expected, 1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("builder", "frozen", "tolerance"),
    [
        # other orders of multiplications, in a network of random weights that amplifies them
        ("fasterrcnn_resnet50_fpn", True, 1e-4),
        ("fasterrcnn_resnet50_fpn", False, 1e-6),
        ("fasterrcnn_resnet50_fpn_v2", False, 1e-6),
    ],
)
def test_people_of_torchvision_are_its_own(builder, frozen, tolerance, tmp_path):
    options = {"rpn_post_nms_top_n_test": 60, "box_detections_per_img": 10_000}
    public = build_torchvision_model(builder, frozen=frozen, **options)
    torch.save(public.state_dict(), tmp_path / "public.pth")
    ours = build_ours(read_detector(str(tmp_path / "public.pth")), *ALL)
    # p6 of this size has cells of other lengths than 64
    inputs = generate_inputs((160, 224))
    transform = public.transform
    transform.min_size, transform.max_size = (160,), 1333
    # the same arithmetic: pixels of 0 to 255
    transform.image_mean = ours.pixel_mean.flatten().tolist()
    transform.image_std = ours.pixel_std.flatten().tolist()
    (found,) = public([inputs[0]["image"]])
    people = found["labels"] == 1
    assert people.sum() > 10
    (own,) = [x["instances"] for x in ours(inputs)]
    torch.testing.assert_close(own.scores, found["scores"][people], atol=tolerance, rtol=0)
    boxes = own.pred_boxes.tensor, found["boxes"][people]
    torch.testing.assert_close(*boxes, atol=100 * tolerance, rtol=0)


def test_files_that_are_no_such_detector_are_refused_with_their_name(tmp_path):
    path = str(tmp_path / "file.pth")
    for name, message in {
        "roi_heads.embedding_head.rescaler.weight": "SeqNet",
        "bbox_head.labeled_matching_layer.lookup_table": "AlignPS",
        "roi_heads.box_predictor.0.cls_score.weight": "Cascade R-CNN",
        "layer1.0.conv1.weight": "a ResNet alone",
        "some.weight": "tensors such as some.weight",
    }.items():
        torch.save({name: torch.ones(2)}, path)
        with pytest.raises(InputError, match=f"{message}.*expected a Faster R-CNN"):
            read_detector(path)


def test_the_person_of_unknown_classes_is_asked_for(tmp_path):
    public = build_zoo_model(R50, *ZOO[R50][0], *FEW, "MODEL.ROI_HEADS.NUM_CLASSES", "8", person=3)
    path = save_zoo_file(public, tmp_path / "zoo.pkl")
    with pytest.raises(InputError, match="8 classes without their names; expected --person-class"):
        read_detector(path)
    with pytest.raises(InputError, match="--person-class is 8; expected a number from 0 to 7"):
        read_detector(path, person_class=8)
    assert read_detector(path, person_class=3).config["MODEL.ROI_HEADS.PERSON_CLASS"] == 3
