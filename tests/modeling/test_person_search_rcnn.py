"""The whole model: outputs, gradients, unchanged inputs, and the contract of GeneralizedRCNN."""

import pytest
import torch
from detectron2.modeling import GeneralizedRCNNWithTTA, build_model
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import EventStorage

from clsa_search.structures import UNLABELED
from tests.support.devices import both_devices, tolerance
from tests.support.model_inputs import compute_losses, inference_input, training_input

LOSS_KEYS = {
    *("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"),
    *("loss_id_res3", "loss_id_res4", "loss_id_res5", "loss_align_res3", "loss_align_res4"),
}
device = both_devices
BOX = [10.0, 5.0, 30.0, 50.0]


@pytest.fixture
def model(tiny_cfg):
    return build_model(tiny_cfg)


@pytest.fixture
def trained(model):
    """The model in evaluation mode, with batch-norm statistics of a few batches."""
    for seed in range(3):
        compute_losses(model, [training_input(seed, [0, 1, 2]), training_input(seed + 9, [1])])
    return model.eval()


@pytest.mark.parametrize(
    "pids",
    [
        pytest.param([[0, 1], [2, UNLABELED]], id="some labeled"),
        pytest.param([[UNLABELED], [UNLABELED]], id="all unlabeled"),
        pytest.param([[0, 1], []], id="one image without boxes"),
        pytest.param([[], []], id="no boxes at all"),
        pytest.param([[0], []], id="one box in the batch"),
    ],
)
def test_training_is_finite_with_the_same_keys_and_reaches_every_parameter(model, pids):
    losses = compute_losses(model, [training_input(i, ids) for i, ids in enumerate(pids)])
    assert set(losses) == LOSS_KEYS
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert not without, "distributed training needs a gradient for every parameter"
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(torch.isfinite(b).all() for b in model.buffers()), "running statistics"


def test_unlabeled_boxes_train_the_alignment_only(model):
    losses = compute_losses(model, [training_input(0, [UNLABELED, UNLABELED, UNLABELED])])
    assert all(v == 0 for k, v in losses.items() if k.startswith("loss_id"))
    assert all(v > 0 for k, v in losses.items() if k.startswith("loss_align"))


def test_without_boxes_the_reid_losses_are_zero(model):
    losses = compute_losses(model, [training_input(0, [])])
    assert all(v == 0 for k, v in losses.items() if k.startswith(("loss_id", "loss_align")))


@pytest.mark.parametrize("device", ["cpu"], indirect=True)  # a GPU has other random numbers
def test_golden_losses(model):
    # Seed 0 for the weights, 5 for the sampling; CPU, float32. A change here is a change of the
    # model's arithmetic; the tolerance leaves room for other versions of torch and processors. The
    # classifiers are scaled up from their small initial weights, or every prediction is uniform.
    for classifier in model.reid_criterion.classifiers.values():
        classifier.weight.data *= 100
    losses = compute_losses(model, [training_input(0, [0, 1]), training_input(1, [2, UNLABELED])])
    golden = {
        "loss_rpn_cls": 0.6934,
        "loss_rpn_loc": 0.0110,
        "loss_cls": 0.6906,
        "loss_box_reg": 0.4481,
        "loss_id_res3": 1.9311,
        "loss_id_res4": 1.3428,
        "loss_id_res5": 2.8097,
        "loss_align_res3": 1.3296,
        "loss_align_res4": 2.9815,
    }
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(golden, rel=5e-3, abs=1e-4)


@pytest.mark.parametrize("iteration", [3, 4])
def test_training_is_visualized_every_vis_period(tiny_cfg, iteration):
    tiny_cfg.VIS_PERIOD = 2
    model = build_model(tiny_cfg)
    shapes = []

    class Storage(EventStorage):
        def put_image(self, name, image):
            shapes.append(image.shape)

    with Storage(iteration):
        model([training_input(0, [0, 1])])
    assert shapes == ([(3, 64, 2 * 96)] if iteration == 4 else [])


@torch.no_grad()
def test_outputs_have_the_promised_fields(trained):
    plain = inference_input(1, scale=2)
    full = inference_input(
        2,
        scale=2,
        boxes=[BOX, [0.0, 0.0, 96.0, 64.0]],
        query_ids=[7, 3],
        gt_boxes=[[1.0, 2.0, 9.0, 20.0]],
    )
    first, second = trained([plain, full])
    assert set(first) == {"instances"} and set(second) == {"instances", "queries", "gt_people"}
    detections = first["instances"]
    assert len(detections) > 0 and detections.image_size == (128, 192)
    assert detections.embeddings.shape == (len(detections), 3 * 8)
    assert set(detections.get_fields()) == {"pred_boxes", "scores", "pred_classes", "embeddings"}
    norms = detections.embeddings.norm(dim=1).cpu()
    torch.testing.assert_close(norms, torch.ones(len(detections)))
    queries, gt_people = second["queries"], second["gt_people"]
    assert queries.query_ids.tolist() == [7, 3]
    torch.testing.assert_close(
        queries.pred_boxes.tensor.cpu(), torch.tensor([[20.0, 10, 60, 100], [0, 0, 192, 128]])
    )
    assert gt_people.pred_boxes.tensor.tolist() == [[2.0, 4.0, 18.0, 40.0]]
    assert set(gt_people.get_fields()) == {"pred_boxes", "embeddings"}


@torch.no_grad()
def test_a_query_and_a_ground_truth_box_get_the_embedding_of_an_equal_detection(trained, device):
    detections = trained([inference_input(4)])[0]["instances"]
    boxes = detections.pred_boxes.tensor.tolist()
    assert len(boxes) > 1
    ids = list(range(len(boxes)))
    outputs = trained([inference_input(4, boxes=boxes, query_ids=ids, gt_boxes=boxes)])[0]
    for name in ("instances", "queries", "gt_people"):
        torch.testing.assert_close(
            outputs[name].embeddings, detections.embeddings, atol=tolerance(device), rtol=1.3e-6
        )


@torch.no_grad()
def test_given_detections_replace_the_detector(trained):
    queries = trained([inference_input(4, boxes=[BOX], query_ids=[0])])[0]["queries"]
    given = Instances((64, 96), pred_boxes=Boxes(torch.tensor([BOX])))
    output = trained.inference([inference_input(4, scale=2)], [given])[0]["instances"]
    torch.testing.assert_close(output.embeddings, queries.embeddings)
    assert output.pred_boxes.tensor.tolist() == [[20.0, 10.0, 60.0, 100.0]]
    assert given.pred_boxes.tensor.tolist() == [BOX] and not given.has("embeddings")


@torch.no_grad()
def test_given_detections_come_to_the_models_device(trained, device):
    given = Instances((64, 96), pred_boxes=Boxes(torch.tensor([BOX])))
    output = trained.inference([inference_input(4)], [given])[0]["instances"]
    assert output.embeddings.device.type == output.pred_boxes.device.type == device.type


@torch.no_grad()
def test_without_postprocessing_detections_stay_in_the_networks_input(trained):
    example = inference_input(4, scale=2, boxes=[BOX], query_ids=[0])
    scaled = trained([example])[0]["instances"]
    (detections,) = trained.inference([example], do_postprocess=False)
    assert isinstance(detections, Instances) and detections.image_size == (64, 96)
    torch.testing.assert_close(detections.embeddings, scaled.embeddings)
    torch.testing.assert_close(2 * detections.pred_boxes.tensor, scaled.pred_boxes.tensor)


@torch.no_grad()
def test_without_the_original_size_boxes_stay_in_the_networks_input(trained):
    example = inference_input(4)
    expected = trained([example])[0]["instances"]
    detections = trained([{"image": example["image"]}])[0]["instances"]
    assert detections.image_size == (64, 96)
    torch.testing.assert_close(detections.pred_boxes.tensor, expected.pred_boxes.tensor)


@torch.no_grad()
def test_test_time_augmentation_of_detectron2_runs_on_the_model(trained, tiny_cfg):
    tiny_cfg.TEST.AUG.MIN_SIZES = (64,)
    tiny_cfg.TEST.AUG.FLIP = False
    example = inference_input(4, scale=2, boxes=[BOX], query_ids=[0])
    plain = trained([example])[0]["instances"]
    merged = GeneralizedRCNNWithTTA(tiny_cfg, trained)([example])[0]["instances"]
    # one pass at the size of the input finds the same boxes
    assert len(merged) == len(plain) > 0 and merged.image_size == (128, 192)
    torch.testing.assert_close(merged.pred_boxes.tensor, plain.pred_boxes.tensor)
    torch.testing.assert_close(merged.scores, plain.scores)

    tiny_cfg.TEST.AUG.MIN_SIZES = (64, 96)
    tiny_cfg.TEST.AUG.FLIP = True
    merged = GeneralizedRCNNWithTTA(tiny_cfg, trained)([example])[0]["instances"]
    assert 0 < len(merged) <= tiny_cfg.TEST.DETECTIONS_PER_IMAGE
    merged = merged.to("cpu")
    boxes = merged.pred_boxes
    assert (boxes.tensor >= 0).all() and (boxes.tensor[:, 2:] <= torch.tensor([192, 128])).all()
    assert (boxes.area() > 0).all() and (merged.scores.diff() <= 0).all()
    overlaps = pairwise_iou(boxes, boxes).fill_diagonal_(0)
    assert overlaps.max() <= tiny_cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST

    boxes.scale(0.5, 0.5)  # to the network's input, for the embeddings of the merged boxes
    given = Instances((64, 96), pred_boxes=boxes, scores=merged.scores)
    embedded = trained.inference([example], [given])[0]["instances"]
    assert embedded.embeddings.shape == (len(merged), 24)
    torch.testing.assert_close(embedded.scores.cpu(), merged.scores)


@torch.no_grad()
def test_other_images_of_the_batch_change_nothing(trained, device):
    example = inference_input(4, boxes=[BOX], query_ids=[0])
    alone = trained([example])[0]
    together = trained([inference_input(8), example])[1]
    for key in ("instances", "queries"):
        torch.testing.assert_close(
            together[key].embeddings, alone[key].embeddings, atol=tolerance(device), rtol=1e-4
        )


@torch.no_grad()
def test_inputs_are_not_modified(trained):
    example = inference_input(4, scale=3, boxes=[BOX], query_ids=[0], gt_boxes=[BOX])
    image = example["image"].clone()
    trained([example])
    assert torch.equal(example["image"], image)
    assert example["query_boxes"].tensor.tolist() == example["gt_boxes"].tensor.tolist() == [BOX]


@torch.no_grad()
def test_an_image_without_detections_is_an_ordinary_input(trained):
    trained.roi_heads.box_predictor.test_score_thresh = 1.1
    empty, with_query = trained(
        [inference_input(1), inference_input(2, boxes=[BOX], query_ids=[0])]
    )
    assert empty["instances"].embeddings.shape == (0, 24)
    assert with_query["queries"].embeddings.shape == (1, 24)
    assert trained([inference_input(1)])[0].keys() == {"instances"}
