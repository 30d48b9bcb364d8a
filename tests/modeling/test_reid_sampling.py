"""Which boxes the re-ID branch trains on, and with whose identity."""

import torch
from detectron2.structures import Boxes, Instances

from clsa_search.modeling import FILLER, select_training_boxes
from clsa_search.structures import UNLABELED

SIZE = (100, 200)


def annotated(boxes, pids):
    people = Instances(SIZE)
    people.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    people.gt_classes = torch.zeros(len(pids), dtype=torch.int64)
    people.gt_pids = torch.tensor(pids, dtype=torch.int64)
    return people


def sampled(boxes, classes, people, matches):
    proposals = Instances(SIZE)
    proposals.proposal_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    proposals.gt_classes = torch.tensor(classes, dtype=torch.int64)
    if matches is not None:
        proposals.gt_boxes = people.gt_boxes[torch.tensor(matches, dtype=torch.int64)]
        proposals.gt_pids = people.gt_pids[torch.tensor(matches, dtype=torch.int64)]
    return proposals


def test_annotated_boxes_and_foreground_proposals_with_inherited_identity():
    people = annotated([[0, 0, 10, 20], [50, 0, 70, 40]], [4, UNLABELED])
    boxes = [[1, 0, 11, 20], [50, 0, 70, 40], [90, 0, 99, 9], [51, 1, 71, 41]]
    proposals = sampled(boxes, [0, 0, 1, 0], people, [0, 1, 0, 1])
    (chosen,), pids = select_training_boxes([people], [proposals], proposals_per_image=9)
    rows = {(tuple(b), p) for b, p in zip(chosen.tensor.tolist(), pids.tolist(), strict=True)}
    # the background is left out, and so is the proposal that is an annotated box itself
    assert rows == {
        ((0, 0, 10, 20), 4),
        ((50, 0, 70, 40), UNLABELED),
        ((1, 0, 11, 20), 4),
        ((51, 1, 71, 41), UNLABELED),
    }
    assert len(pids) == 4


def test_at_most_so_many_proposals_of_an_image():
    people = annotated([[0, 0, 10, 20]], [2])
    boxes = [[i, 0, 10 + i, 20] for i in range(1, 6)]
    proposals = sampled(boxes, [0] * 5, people, [0] * 5)
    for limit in (1, 3, 5, 50):
        (chosen,), pids = select_training_boxes([people], [proposals], proposals_per_image=limit)
        assert len(chosen) == 1 + min(limit, 5)
        assert pids.tolist() == [2] * len(chosen)


def test_rows_follow_the_images():
    first, second = annotated([[0, 0, 10, 20]], [1]), annotated([[5, 0, 9, 20]], [3])
    none = [sampled([], [], people, []) for people in (first, second)]
    boxes, pids = select_training_boxes([first, second], none, proposals_per_image=4)
    assert [len(b) for b in boxes] == [1, 1] and pids.tolist() == [1, 3]


def test_too_few_people_are_filled_up_with_halves_of_images():
    empty = annotated([], [])
    background = sampled([[0, 0, 5, 5]], [1], empty, None)
    boxes, pids = select_training_boxes([empty, empty], [background] * 2, proposals_per_image=4)
    assert [len(b) for b in boxes] == [0, 2] and pids.tolist() == [FILLER, FILLER]
    assert boxes[1].tensor.tolist() == [[0, 0, 100, 100], [100, 0, 200, 100]]
    one = annotated([[0, 0, 10, 20]], [1])
    boxes, pids = select_training_boxes(
        [one, empty], [sampled([], [], one, []), background], proposals_per_image=4
    )
    assert [len(b) for b in boxes] == [1, 1] and pids.tolist() == [1, FILLER]
