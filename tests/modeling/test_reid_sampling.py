"""The training boxes of the re-ID branch and their identities."""

import torch
from detectron2.structures import Boxes, Instances

from clsa_search.modeling import FILLER, select_training_boxes
from clsa_search.structures import UNLABELED

SIZE = (100, 200)


def make_targets(boxes, pids):
    targets = Instances(SIZE)
    targets.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    targets.gt_classes = torch.zeros(len(pids), dtype=torch.int64)
    targets.gt_pids = torch.tensor(pids, dtype=torch.int64)
    return targets


def make_samples(boxes, classes, targets, matches):
    proposals = Instances(SIZE)
    proposals.proposal_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    proposals.gt_classes = torch.tensor(classes, dtype=torch.int64)
    if matches is not None:
        proposals.gt_boxes = targets.gt_boxes[torch.tensor(matches, dtype=torch.int64)]
        proposals.gt_pids = targets.gt_pids[torch.tensor(matches, dtype=torch.int64)]
    return proposals


def test_ground_truth_and_foreground_proposals_with_the_identity_of_their_match():
    targets = make_targets([[0, 0, 10, 20], [50, 0, 70, 40]], [4, UNLABELED])
    boxes = [[1, 0, 11, 20], [50, 0, 70, 40], [90, 0, 99, 9], [51, 1, 71, 41]]
    proposals = make_samples(boxes, [0, 0, 1, 0], targets, [0, 1, 0, 1])
    (chosen,), pids = select_training_boxes([targets], [proposals], proposals_per_image=9)
    rows = {(tuple(b), p) for b, p in zip(chosen.tensor.tolist(), pids.tolist(), strict=True)}
    # without the background and the proposal that equals a ground-truth box
    assert rows == {
        ((0, 0, 10, 20), 4),
        ((50, 0, 70, 40), UNLABELED),
        ((1, 0, 11, 20), 4),
        ((51, 1, 71, 41), UNLABELED),
    }
    assert len(pids) == 4


def test_proposals_per_image_is_a_limit():
    targets = make_targets([[0, 0, 10, 20]], [2])
    boxes = [[i, 0, 10 + i, 20] for i in range(1, 6)]
    proposals = make_samples(boxes, [0] * 5, targets, [0] * 5)
    for limit in (1, 3, 5, 50):
        (chosen,), pids = select_training_boxes([targets], [proposals], proposals_per_image=limit)
        assert len(chosen) == 1 + min(limit, 5)
        assert pids.tolist() == [2] * len(chosen)


def test_rows_are_in_the_order_of_the_images():
    first, second = make_targets([[0, 0, 10, 20]], [1]), make_targets([[5, 0, 9, 20]], [3])
    none = [make_samples([], [], targets, []) for targets in (first, second)]
    boxes, pids = select_training_boxes([first, second], none, proposals_per_image=4)
    assert [len(b) for b in boxes] == [1, 1] and pids.tolist() == [1, 3]


def test_fewer_than_two_boxes_are_filled_up_with_halves_of_an_image():
    empty = make_targets([], [])
    background = make_samples([[0, 0, 5, 5]], [1], empty, None)
    boxes, pids = select_training_boxes([empty, empty], [background] * 2, proposals_per_image=4)
    assert [len(b) for b in boxes] == [0, 2] and pids.tolist() == [FILLER, FILLER]
    assert boxes[1].tensor.tolist() == [[0, 0, 100, 100], [100, 0, 200, 100]]
    one = make_targets([[0, 0, 10, 20]], [1])
    boxes, pids = select_training_boxes(
        [one, empty], [make_samples([], [], one, []), background], proposals_per_image=4
    )
    assert [len(b) for b in boxes] == [1, 1] and pids.tolist() == [1, FILLER]
