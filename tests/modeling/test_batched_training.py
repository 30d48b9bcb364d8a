"""Labels and samples of a whole batch against Detectron2's, image by image."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import EventStorage

from clsa_search.modeling.batched_training import (
    BatchedROIHeads,
    BatchedRPN,
    batch_training,
    match_boxes,
    sample_labels,
)
from clsa_search.structures import UNLABELED
from tests.support.devices import DEVICES
from tests.support.model_inputs import compute_losses, random_boxes, training_input

pytestmark = pytest.mark.parametrize("device", DEVICES, indirect=True)
ALL = 10**6  # more samples than there are boxes: nothing is left to chance


def make_targets(device, counts=(3, 0, 7)):
    targets = []
    for seed, count in enumerate(counts):
        boxes = Boxes(random_boxes(count, seed))
        fields = {"gt_classes": torch.zeros(count, dtype=torch.int64)}
        fields["gt_pids"] = torch.arange(count) if count else torch.zeros(0, dtype=torch.int64)
        targets.append(Instances((96, 96), gt_boxes=boxes, **fields).to(device))
    return targets


def make_proposals(device, counts=(40, 25, 31)):
    proposals = []
    for seed, count in enumerate(counts):
        boxes = Boxes(random_boxes(count, 10 + seed))
        one = Instances((96, 96), proposal_boxes=boxes, objectness_logits=torch.zeros(count))
        proposals.append(one.to(device))
    return proposals


@pytest.fixture
def models(tiny_cfg, device):
    """The model as Detectron2 trains it, and the batched one with the same weights."""
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(build_model(tiny_cfg).to(device))
    names = set(models[1].state_dict())
    batch_training(models[1])
    assert set(models[1].state_dict()) == names
    return models


@pytest.mark.parametrize("low_quality", [False, True])
def test_matches_are_those_of_the_matcher(device, low_quality):
    matcher = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=low_quality)
    for seed in range(20):
        truth = Boxes(random_boxes(seed % 5, seed)).to(device)
        overlaps = pairwise_iou(truth, Boxes(random_boxes(50, 99 + seed)).to(device))
        if seed % 3 == 0:
            overlaps = overlaps.mul(10).round().div(10)  # ties, and values on a threshold
        for result, expected in zip(match_boxes(matcher, overlaps), matcher(overlaps), strict=True):
            assert torch.equal(result, expected) and result.dtype == expected.dtype


def test_samples_have_the_wanted_numbers(device):
    labels = torch.tensor([[1] * 6 + [0] * 10, [1] + [0] * 4 + [-1] * 11, [-1] * 16, [1] * 16])
    labels = labels.to(device)
    positive, negative = sample_labels(labels == 1, labels == 0, 8, 0.5)
    assert positive.sum(dim=1).tolist() == [4, 1, 0, 4]
    assert negative.sum(dim=1).tolist() == [4, 4, 0, 0]
    assert (labels[positive] == 1).all() and (labels[negative] == 0).all()


def test_every_box_is_sampled_equally_often(device):
    mask = torch.ones(4000, 10, dtype=torch.bool, device=device)
    mask[:, 7] = False
    positive, negative = sample_labels(mask, mask, 4, 0.5)
    for chosen in (positive, negative):
        shares = chosen.float().mean(dim=0).cpu()
        assert shares[7] == 0
        assert shares[[0, 1, 2, 3, 4, 5, 6, 8, 9]].sub(2 / 9).abs().max() < 0.03


def test_labels_of_all_anchors_equal_detectron2s(models, device):
    plain, batched = (model.proposal_generator for model in models)
    assert type(plain) is RPN and type(batched) is BatchedRPN
    anchors = [Boxes(random_boxes(200, 5)).to(device), Boxes(random_boxes(30, 6)).to(device)]
    for rpn in (plain, batched):
        rpn.batch_size_per_image, rpn.positive_fraction = 2 * ALL, 0.5
    for threshold in (-1, 0):
        plain.anchor_boundary_thresh = batched.anchor_boundary_thresh = threshold
        expected = plain.label_and_sample_anchors(anchors, make_targets(device))
        result = batched.label_and_sample_anchors(anchors, make_targets(device))
        for ours, theirs in zip(result, expected, strict=True):
            assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("images", [1, 3])
def test_proposals_equal_detectron2s(models, device, images):
    plain, batched = (model.proposal_generator.train() for model in models)
    generator = torch.Generator().manual_seed(images)
    anchors, logits, deltas = [], [], []
    for level, count in enumerate((900, 300, 40)):
        anchors.append(Boxes(random_boxes(count, level)).to(device))
        logits.append(torch.randn(images, count, generator=generator).to(device))
        deltas.append(torch.randn(images, count, 4, generator=generator).to(device) * 0.5)
    sizes = [(96, 96), (50, 80), (80, 60)][:images]
    for rpn in (plain, batched):
        rpn.pre_nms_topk[True], rpn.post_nms_topk[True] = 200, 150
    predictions = anchors, logits, deltas, sizes
    proposals = zip(*(x.predict_proposals(*predictions) for x in (plain, batched)), strict=True)
    for expected, result in proposals:
        assert result.image_size == expected.image_size and len(result) == len(expected) > 100
        assert torch.equal(result.proposal_boxes.tensor, expected.proposal_boxes.tensor)
        assert torch.equal(result.objectness_logits, expected.objectness_logits)
    logits[1][0, 5] = torch.nan
    with pytest.raises(FloatingPointError, match="diverged"):
        batched.predict_proposals(*predictions)


@pytest.mark.parametrize("append", [True, False])
def test_samples_of_all_proposals_equal_detectron2s(models, device, append):
    plain, batched = (model.roi_heads for model in models)
    assert type(batched) is BatchedROIHeads
    samples, scalars = [], []
    for heads in (plain, batched):
        heads.batch_size_per_image, heads.positive_fraction = 2 * ALL, 0.5
        heads.proposal_append_gt = append
        with EventStorage() as storage:
            targets, proposals = make_targets(device), make_proposals(device)
            samples.append(heads.label_and_sample_proposals(proposals, targets))
            scalars.append(storage.latest())
    assert scalars[0] == scalars[1]
    for theirs, ours in zip(*samples, strict=True):
        assert set(ours.get_fields()) == set(theirs.get_fields()) and len(ours) == len(theirs)
        rows = [
            sorted(
                (*one.proposal_boxes.tensor[i].tolist(), int(one.gt_classes[i]))
                + (
                    (int(one.gt_pids[i]), *one.gt_boxes.tensor[i].tolist())
                    if one.has("gt_pids")
                    else ()
                )
                for i in range(len(one))
            )
            for one in (theirs, ours)
        ]
        assert rows[0] == rows[1]


def test_losses_and_gradients_equal_detectron2s(models, device):
    inputs = [training_input(0, [0, 1]), training_input(1, [2, UNLABELED]), training_input(2, [])]
    results = []
    for model in models:
        model.proposals_per_image = 0  # the choice of proposals for the re-ID branch is random
        for part in (model.proposal_generator, model.roi_heads):
            part.batch_size_per_image, part.positive_fraction = 2 * ALL, 0.5
        model.proposal_generator.loss_weight = {}
        losses = compute_losses(model, inputs)
        sum(losses.values()).backward()
        results.append((losses, [p.grad for p in model.parameters()]))
    (expected, expected_gradients), (losses, gradients) = results
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name], rtol=1e-4, atol=1e-6, msg=name)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        # a GPU adds the gradients of RoIAlign in another order at each run
        share = 1e-4 if device.type == "cpu" else 2e-3
        scale = other.abs().max().item()
        torch.testing.assert_close(gradient, other, rtol=1e-2, atol=share * scale)
