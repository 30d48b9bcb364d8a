"""The re-ID branch trains on the boxes of the box head, with their identities."""

import argparse

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads import CascadeROIHeads
from detectron2.structures import Boxes, Instances, pairwise_iou

from clsa_search.engine.hooks import SetProgress
from clsa_search.errors import InputError
from clsa_search.modeling import select_training_boxes
from clsa_search.modeling.batched_training import batch_training
from clsa_search.modeling.refined_boxes import RefinedBoxLabels, refine_training_boxes
from clsa_search.structures import UNLABELED
from tests.support.model_inputs import compute_losses, training_input
from tests.support.training import SIX_STEPS, train

REFINED = ["MODEL.REID.REFINED_BOXES", "True"]
HEADS = {
    "standard": ["MODEL.ROI_HEADS.NAME", "StandardROIHeads"],
    "person": ["MODEL.ROI_HEADS.NAME", "PersonROIHeads", "MODEL.ROI_HEADS.PRETRAINED_CLASSES", "3"],
    "cascade": [
        *("MODEL.ROI_HEADS.NAME", "CascadeROIHeads"),
        *("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True"),
    ],
}


def make_targets(boxes, pids):
    fields = {"gt_boxes": Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))}
    fields["gt_classes"] = torch.zeros(len(pids), dtype=torch.int64)
    return Instances((100, 200), gt_pids=torch.tensor(pids, dtype=torch.int64), **fields)


def make_samples(boxes):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Instances((100, 200), proposal_boxes=Boxes(boxes))


def test_a_refined_box_has_the_identity_of_the_person_that_it_overlaps_most():
    labels = RefinedBoxLabels(ious=(0.5, 0.7), switch=0.5)
    targets = make_targets([[0, 0, 10, 20], [8, 0, 18, 20]], [4, UNLABELED])
    # IoU 0.6 with the first; 0.74 with the second; 0.33; outside of the image but for its last row
    boxes = [[0, 0, 10, 12], [9.5, 0, 19.5, 20], [0, 0, 20, 30], [-5, -9, 10, 20]]
    boxes.append([torch.nan, 0, 10, 20])
    for share, classes in ((0.5, [0, 0, 1, 0, 1]), (0.51, [1, 0, 1, 0, 1])):
        labels.set_progress(share)
        (labeled,) = labels([targets], [make_samples(boxes)])
        assert labeled.gt_classes.tolist() == classes
        assert labeled.gt_pids[[0, 1, 3]].tolist() == [4, UNLABELED, 4]
    assert labeled.proposal_boxes.tensor[3].tolist() == [0, 0, 10, 20], "clipped to the image"
    (chosen,), pids = select_training_boxes([targets], [labeled], proposals_per_image=9)
    # the clipped one equals its ground truth, which is there already
    assert len(chosen) == 3 and pids.tolist() == [4, UNLABELED, UNLABELED]


@pytest.mark.parametrize("pids", [[], [1]])
def test_images_without_people_and_without_boxes(pids):
    labels = RefinedBoxLabels(ious=(0.5, 0.7), switch=0.5)
    targets = make_targets([[0, 0, 10, 20]] * len(pids), pids)
    for boxes in ([], [[0, 0, 5, 5]]):
        (labeled,) = labels([targets], [make_samples(boxes)])
        assert len(labeled) == len(boxes) and labeled.has("gt_pids") == bool(pids)
        assert (labeled.gt_classes == 1).all()


def watch(model):
    """Return lists of the last calls: boxes of the box head, its output, boxes of the branch."""
    heads, seen = model.roi_heads, {}
    cascade = isinstance(heads, CascadeROIHeads)
    predictor = heads.box_predictor[-1] if cascade else heads.box_predictor
    heads.box_pooler.register_forward_hook(
        lambda module, args, output: seen.update(proposals=torch.cat([x.tensor for x in args[1]]))
    )
    predictor.register_forward_hook(lambda module, args, output: seen.update(deltas=output[1]))
    model.reid_branch.register_forward_hook(lambda module, args, output: seen.update(boxes=args[2]))
    return seen, predictor.box2box_transform


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("heads", HEADS)
def test_the_branch_sees_what_the_box_head_returns(tiny_cfg, heads, batched):
    tiny_cfg.merge_from_list([*HEADS[heads], *REFINED])
    model = build_model(tiny_cfg)
    if batched:
        batch_training(model)
    seen, transform = watch(model)
    inputs = [training_input(0, [0, 1]), training_input(1, [2, UNLABELED]), training_input(2, [])]
    model.refined_boxes.set_progress(0.1)
    losses = compute_losses(model, inputs)
    refined = transform.apply_deltas(seen["deltas"], seen["proposals"]).detach()
    refined[:, 0::2].clamp_(0, 96)
    refined[:, 1::2].clamp_(0, 64)
    assert not torch.equal(refined, seen["proposals"])
    for example, boxes in zip(inputs, seen["boxes"], strict=True):
        truth = example["instances"].gt_boxes
        more = boxes.tensor[len(truth) :]
        assert not more.requires_grad
        assert len(more) == 0 or (pairwise_iou(Boxes(more), truth).amax(dim=1) >= 0.5).all()
        assert all((refined == box).all(dim=1).any() for box in more), "boxes of the box head"
    assert sum(map(len, seen["boxes"])) > 4, "beside the ground truth"
    sum(losses.values()).backward()
    assert set(compute_losses(model, [training_input(2, [])] * 2)) == set(losses)


def test_all_else_is_as_with_proposals(tiny_cfg):
    """The losses of the detector and the names of all losses."""
    results = []
    for refined in ("False", "True"):
        tiny_cfg.MODEL.REID.REFINED_BOXES = refined == "True"
        torch.manual_seed(0)
        model = build_model(tiny_cfg)
        results.append(compute_losses(model, [training_input(0, [0, 1])] * 2))
    plain, other = results
    assert list(plain) == list(other)
    for name in plain:
        if not name.startswith(("loss_id", "loss_align")):
            assert torch.equal(plain[name], other[name]), name


@pytest.mark.parametrize("heads", HEADS)
def test_the_weight_of_the_box_regression(tiny_cfg, heads):
    tiny_cfg.merge_from_list(HEADS[heads])
    results = []
    for weight in (1.0, 10.0):
        tiny_cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT = weight
        torch.manual_seed(0)
        results.append(compute_losses(build_model(tiny_cfg), [training_input(0, [0, 1])] * 2))
    plain, weighted = results
    for name, loss in plain.items():
        factor = 10 if name.startswith("loss_box_reg") else 1
        torch.testing.assert_close(weighted[name], factor * loss)


def test_the_progress_of_the_training_sets_the_iou():
    labels = RefinedBoxLabels(ious=(0.5, 0.7), switch=0.25)
    hook, ious = SetProgress(), []
    for iteration in range(4):
        hook.trainer = argparse.Namespace(iter=iteration, max_iter=4, model=labels)
        hook.before_step()
        ious.append(labels.min_iou)
    assert ious == [0.5, 0.7, 0.7, 0.7]


def test_training_over_a_cascade(tiny_cfg):
    tiny_cfg.merge_from_list([*HEADS["cascade"], *REFINED, *SIX_STEPS, "DATASETS.TEST", "()"])
    tiny_cfg.SOLVER.MAX_ITER = 2
    assert len(train(tiny_cfg)[1]) == 2


def test_heads_that_return_no_boxes_are_refused(tiny_cfg):
    tiny_cfg.merge_from_list(REFINED)
    with pytest.raises(InputError, match="REFINED_BOXES is True.*expected StandardROIHeads"):
        refine_training_boxes(tiny_cfg, torch.nn.Identity())
