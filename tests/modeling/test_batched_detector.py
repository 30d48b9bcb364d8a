"""The detector for whole batches: the detections of Detectron2's, with one wait of the host."""

import pytest
import torch
from detectron2.modeling import build_model

from benchmarks.speed.inputs import generate_inputs
from benchmarks.speed.operations import count_operations
from clsa_search.modeling.batched_detector import BatchedDetector
from clsa_search.modeling.optimize import batch_images, optimize_for_inference
from tests.support.detection_cases import (
    DETECTORS,
    assert_equal_instances,
    assert_equal_outputs,
    build_spread_model,
    generate_batch,
)


@torch.no_grad()
@pytest.mark.parametrize("kind", DETECTORS)
def test_results_are_those_of_detectron2(tiny_cfg, kind):
    tiny_cfg.merge_from_list(DETECTORS[kind])
    model = build_spread_model(tiny_cfg)
    inputs = generate_batch()
    expected = model(inputs)
    counts = [len(x["instances"]) for x in expected]
    assert max(counts) == 0 if kind == "none" else sum(counts) > 3
    batch_images(model)
    for _ in range(3):  # the second time records, the third one replays
        assert_equal_outputs(model(inputs), expected)
    assert_equal_outputs(model(inputs[2:]), expected[2:])


@torch.no_grad()
def test_predictions_that_are_not_finite_are_dropped(tiny_cfg):
    model = build_spread_model(tiny_cfg)
    images = model.preprocess_image(generate_batch())
    head = model.proposal_generator.rpn_head

    def spoil(module, args, output):
        logits, deltas = output
        logits[0][0, 0, :3] = torch.nan
        deltas[0][1, :, 5:9] = torch.inf
        logits[1][2] = -torch.inf

    head.register_forward_hook(spoil)
    model.roi_heads.box_head.register_forward_hook(
        lambda module, args, output: output.index_fill(0, torch.tensor([0]), torch.nan)
    )
    _, expected = model.detect(images)
    _, detections = BatchedDetector(model, [])(images)
    for x, y in zip(detections, expected, strict=True):
        assert_equal_instances(x, y)


@torch.no_grad()
def test_boxes_in_long_chains_take_a_second_pass(tiny_cfg):
    tiny_cfg.merge_from_list(["MODEL.RPN.NMS_THRESH", "0.3", "MODEL.RPN.POST_NMS_TOPK_TEST", "50"])
    model = build_spread_model(tiny_cfg)
    head = model.proposal_generator.rpn_head

    def fall(module, args, output):  # scores fall along the anchors, which overlap their neighbors
        for logits in output[0]:
            logits.copy_(-torch.arange(logits.numel()).view_as(logits) * 1e-3)
        for deltas in output[1]:
            deltas.zero_()

    head.register_forward_hook(fall)
    images = model.preprocess_image(generate_inputs(1, size=(96, 1280), boxes=1))
    _, expected = model.detect(images)
    detector = BatchedDetector(model, [])
    sizes = torch.tensor(images.image_sizes)
    assert not detector.compute(images.tensor, sizes)["status"][-1]
    assert detector.compute(images.tensor, sizes, complete=True)["status"][-1]
    assert_equal_instances(detector(images)[1][0], expected[0])


@torch.no_grad()
@pytest.mark.parametrize(
    "opts",
    [
        ["MODEL.ROI_HEADS.NAME", "CascadeROIHeads", *DETECTORS["one box for all classes"][-2:]],
        ["MODEL.MASK_ON", "True"],
        ["MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIPool"],
    ],
    ids=["cascade", "masks", "RoIPool"],
)
def test_other_detectors_stay_as_they_are(tiny_cfg, opts):
    tiny_cfg.merge_from_list(opts)
    model = build_model(tiny_cfg).eval()
    batch_images(model)
    assert model.batched_detector is None and model.crop_embedder is not None


@torch.no_grad()
def test_the_host_waits_for_the_number_of_detections_only(tiny_cfg):
    model = build_spread_model(tiny_cfg)
    images = model.preprocess_image(generate_batch())
    detector = BatchedDetector(model, [])
    plain, batched = (count_operations(lambda f=f: f(images)) for f in (model.detect, detector))
    assert plain.syncs > 30 and batched.syncs == 0  # to fetch all numbers at once is not counted


@torch.no_grad()
def test_a_cpu_does_not_batch(tiny_cfg):
    model = build_model(tiny_cfg).eval()
    optimize_for_inference(model)
    assert model.batched_detector is None and model.crop_embedder is None
