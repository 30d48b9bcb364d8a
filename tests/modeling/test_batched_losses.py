"""Pooling, losses and logged numbers of batched training against Detectron2's."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from benchmarks.speed.operations import count_operations
from clsa_search.modeling.batched_losses import BatchedOutputLayers, BatchedPooler, encode_boxes
from clsa_search.modeling.batched_training import batch_training
from tests.support.devices import DEVICES
from tests.support.model_inputs import compute_losses, random_boxes, training_input

pytestmark = pytest.mark.parametrize("device", DEVICES, indirect=True)
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def test_deltas_equal_detectron2s(device):
    boxes, targets = random_boxes(500, 1).to(device), random_boxes(500, 2).to(device)
    expected = Box2BoxTransform(WEIGHTS).get_deltas(boxes, targets)
    torch.testing.assert_close(encode_boxes(boxes, targets, WEIGHTS), expected)


def make_samples(device, classes):
    """Return samples of two images; the second one has no ground truth, only background."""
    samples = []
    for image, count in enumerate((40, 12)):
        one = Instances((96, 96), proposal_boxes=Boxes(random_boxes(count, image)))
        one.gt_classes = torch.full((count,), classes)
        if image == 0:
            one.gt_classes = torch.arange(count) % (classes + 1)
            one.gt_boxes = Boxes(random_boxes(count, 7))
        samples.append(one.to(device))
    return samples


@pytest.mark.parametrize("kind", ["smooth_l1", "giou"])
@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("classes", [1, 3])
def test_losses_of_the_box_head_equal_detectron2s(device, classes, agnostic, beta, kind):
    generator = torch.Generator().manual_seed(0)
    width = 4 * (1 if agnostic else classes)
    logits = torch.randn(52, classes + 1, generator=generator).to(device)
    deltas = torch.randn(52, width, generator=generator).to(device)
    results = []
    for layers in (FastRCNNOutputLayers, BatchedOutputLayers):
        predictor = layers(
            ShapeSpec(channels=8),
            box2box_transform=Box2BoxTransform(WEIGHTS),
            num_classes=classes,
            cls_agnostic_bbox_reg=agnostic,
            smooth_l1_beta=beta,
            box_reg_loss_type=kind,
            loss_weight={"loss_box_reg": 2.0},
        )
        predictions = logits.clone().requires_grad_(), deltas.clone().requires_grad_()
        with EventStorage() as storage:
            losses = predictor.losses(predictions, make_samples(device, classes))
        sum(losses.values()).backward()
        scalars = {name: value for name, (value, _) in storage.latest().items()}
        results.append((losses, [x.grad for x in predictions], scalars))
    (expected, expected_gradients, expected_scalars), (losses, gradients, scalars) = results
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(gradients, expected_gradients)
    assert scalars == expected_scalars and len(scalars) == 3


@pytest.mark.parametrize("classes", [1, 3])
def test_no_box_has_a_loss_of_zero(device, classes):
    predictor = BatchedOutputLayers(
        ShapeSpec(channels=8), box2box_transform=Box2BoxTransform(WEIGHTS), num_classes=classes
    ).to(device)
    proposals = [x[:0] for x in make_samples(device, 1)]
    predictions = predictor(torch.zeros(0, 8, device=device))
    with EventStorage():
        losses = predictor.losses(predictions, proposals)
    assert {name: x.item() for name, x in losses.items()} == {"loss_cls": 0, "loss_box_reg": 0}
    sum(losses.values()).backward()


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("counts", [(30, 20), (0, 25), (0, 0), (1, 0)])
def test_pooled_boxes_equal_detectron2s(device, levels, counts):
    generator = torch.Generator().manual_seed(0)
    scales = [1 / 4 / 2**n for n in range(levels)]
    maps = [torch.randn(2, 5, 32 >> n, 32 >> n, generator=generator) for n in range(levels)]
    boxes = [
        Boxes(random_boxes(count, seed, size=120)).to(device) for seed, count in enumerate(counts)
    ]
    results = []
    for pooler in (ROIPooler, BatchedPooler):
        layer = pooler(
            7, scales=scales, sampling_ratio=0, pooler_type="ROIAlignV2", canonical_box_size=40
        )
        leaves = [x.to(device).requires_grad_() for x in maps]
        pooled = layer(leaves, boxes)
        (pooled * torch.arange(len(pooled), device=device)[:, None, None, None]).sum().backward()
        results.append((pooled, [x.grad for x in leaves]))
    torch.testing.assert_close(results[1], results[0])


OIM = ["MODEL.REID.CLASSIFIER", "OIMClassifier"]
PUBLIC = [
    *("MODEL.ROI_HEADS.NAME", "PersonROIHeads"),
    *("MODEL.ROI_HEADS.PRETRAINED_CLASSES", "5"),
]


@pytest.mark.parametrize("opts", [[], OIM, PUBLIC], ids=["softmax", "OIM", "public classes"])
def test_a_training_step_rarely_waits(tiny_cfg, device, opts):
    tiny_cfg.merge_from_list(opts)
    model = build_model(tiny_cfg).to(device)
    inputs = [training_input(i, [i % 3, (i + 1) % 3, -1]) for i in range(4)]
    before = count_waits(model, inputs)
    batch_training(model)
    # rows of a mask on the CPU: the proposals of each image and the rows of two losses; the size of
    # the batch twice. Numbers that are fetched together are not counted.
    assert before > 80 and count_waits(model, inputs) <= len(inputs) + 4


def count_waits(model, inputs):
    return count_operations(lambda: sum(compute_losses(model, inputs).values()).backward()).syncs
