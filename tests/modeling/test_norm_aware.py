"""SeqNet and NAE: equal to the public programs, in the contract of PersonSearchRCNN."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from clsa_search.checkpoint.public_weights import StateDict
from clsa_search.checkpoint.search_layouts import find_searcher
from clsa_search.engine.setup import check_trainable, load_config
from clsa_search.errors import InputError
from clsa_search.modeling.optimize import optimize_for_inference
from tests.support.public_searchers import (
    GIVEN_BOXES,
    SIZES,
    build_public_searcher,
    make_images,
)

NAMES = ("NAE", "SeqNet")


@pytest.fixture(scope="module", params=NAMES)
def public(request):
    return build_public_searcher(request.param)


def build_ours(public, *opts):
    found = find_searcher(StateDict("epoch_19.pth", public.state_dict()))
    values = [item for pair in found.config.items() for item in pair]
    opts = ["MODEL.DEVICE", "cpu", *values, "MODEL.RPN.POST_NMS_TOPK_TEST", 60, *opts]
    cfg = load_config("", opts)
    model = build_model(cfg).eval()
    model.load_state_dict(found.tensors)
    return model


def make_inputs(*, scale=1):
    return [
        {
            "image": (image * 255).round().to(torch.uint8),
            "height": size[0] * scale,
            "width": size[1] * scale,
        }
        for image, size in zip(make_images(), SIZES, strict=True)
    ]


def with_queries(inputs):
    (first, second), boxes = inputs, Boxes(GIVEN_BOXES)
    first = {**first, "query_boxes": boxes, "query_ids": torch.tensor([7, 8])}
    return [first, {**second, "gt_boxes": boxes[:1]}]


@torch.no_grad()
def assert_equal_outputs(outputs, public, tolerance=1e-4):
    expected = public(make_images())
    assert min(len(scores) for _, scores, _ in expected) > 3, "few detections compare little"
    for output, (boxes, scores, weighted) in zip(outputs, expected, strict=True):
        found = output["instances"]
        assert len(found) == len(scores)
        torch.testing.assert_close(found.pred_boxes.tensor, boxes, atol=tolerance, rtol=1e-5)
        torch.testing.assert_close(found.scores, scores, atol=tolerance, rtol=0)
        ours = found.embeddings * found.scores[:, None]
        torch.testing.assert_close(ours, weighted, atol=tolerance, rtol=0)
        torch.testing.assert_close(found.embeddings.norm(dim=1), torch.ones(len(found)))


def test_detections_and_given_boxes_equal_the_public_program(public):
    model = build_ours(public)
    with torch.no_grad():
        first, second = outputs = model(with_queries(make_inputs()))
        expected = public(make_images(), [GIVEN_BOXES, GIVEN_BOXES[:1]])
    assert_equal_outputs(outputs, public)
    embeddings = torch.cat([first["queries"].embeddings, second["gt_people"].embeddings])
    torch.testing.assert_close(embeddings, expected, atol=1e-5, rtol=0)
    assert first["queries"].query_ids.tolist() == [7, 8]
    assert "queries" not in second


def test_optimized_model_gives_the_same(public):
    model = build_ours(public)
    optimize_for_inference(model)
    with torch.no_grad():
        assert_equal_outputs(model(make_inputs()), public)


def test_half_precision_stays_near(public):
    model = build_ours(public)
    expected = model(with_queries(make_inputs()))[0]["queries"].embeddings
    optimize_for_inference(model, torch.bfloat16)
    found = model(with_queries(make_inputs()))[0]["queries"].embeddings
    assert found.dtype == torch.float32
    assert (found * expected).sum(dim=1).min() > 0.98


def test_box_regression_without_a_norm():
    public = build_public_searcher("SeqNet", has_neck=False)
    with torch.no_grad():
        assert_equal_outputs(build_ours(public)(make_inputs()), public)


@torch.no_grad()
def test_one_image_gives_the_same_in_any_batch(public):
    model = build_ours(public)
    model.min_score = 0.0
    alone, together = model(make_inputs()[:1]), model(make_inputs()[:1] * 2)
    for output in together:
        torch.testing.assert_close(
            output["instances"].embeddings, alone[0]["instances"].embeddings, atol=1e-5, rtol=0
        )


@torch.no_grad()
def test_boxes_come_back_in_the_original_image(public):
    model = build_ours(public)
    (plain, _), (doubled, _) = model(make_inputs()), model(make_inputs(scale=2))
    torch.testing.assert_close(
        doubled["instances"].pred_boxes.tensor, plain["instances"].pred_boxes.tensor * 2
    )


@torch.no_grad()
def test_own_detections_are_embedded_as_queries(public):
    model = build_ours(public)
    inputs = with_queries(make_inputs())
    given = [Instances(size, pred_boxes=Boxes(GIVEN_BOXES)) for size in SIZES]
    first, second = model.inference(inputs, given)
    torch.testing.assert_close(first["instances"].embeddings, first["queries"].embeddings)
    torch.testing.assert_close(second["instances"].embeddings[:1], second["gt_people"].embeddings)


@torch.no_grad()
def test_no_detection(public):
    model = build_ours(public, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 1.0)
    first, second = model(with_queries(make_inputs()))
    assert first["instances"].embeddings.shape == (0, 256)
    assert first["queries"].embeddings.shape == (2, 256)
    assert len(second["instances"]) == 0


def test_training_is_refused(public):
    model = build_ours(public)
    with pytest.raises(InputError, match="cannot be trained here; expected MODEL.META_ARCH"):
        model.train()(make_inputs())


@pytest.mark.parametrize("name", NAMES)
def test_training_is_refused_before_the_data(name):
    cfg = load_config("", ["MODEL.META_ARCHITECTURE", name])
    with pytest.raises(InputError, match=rf"META_ARCHITECTURE is {name}, .* expected PersonSea"):
        check_trainable(cfg)
