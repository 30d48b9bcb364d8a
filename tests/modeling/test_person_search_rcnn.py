"""The whole model: what it returns, what it must not change, and where its gradients go."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from clsa_search.structures import UNLABELED

LOSS_KEYS = {
    *("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"),
    *("loss_id_res3", "loss_id_res4", "loss_id_res5", "loss_align_res3", "loss_align_res4"),
}


@pytest.fixture
def model(tiny_cfg):
    return build_model(tiny_cfg)


def picture(seed, size=(64, 96)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)


def training_input(seed, pids):
    people = Instances((64, 96))
    left = torch.arange(len(pids), dtype=torch.float32)[:, None] * 20
    people.gt_boxes = Boxes(torch.cat([left, left * 0, left + 15, left * 0 + 40], dim=1))
    people.gt_classes = torch.zeros(len(pids), dtype=torch.int64)
    people.gt_pids = torch.tensor(pids, dtype=torch.int64)
    return {"image": picture(seed), "instances": people, "height": 64, "width": 96}


def losses_of(model, inputs):
    torch.manual_seed(5)
    with EventStorage():
        return model(inputs)


@pytest.mark.parametrize(
    "people",
    [
        pytest.param([[0, 1], [2, UNLABELED]], id="some labeled"),
        pytest.param([[UNLABELED], [UNLABELED]], id="nobody labeled"),
        pytest.param([[0, 1], []], id="one image without people"),
        pytest.param([[], []], id="no people at all"),
        pytest.param([[0], []], id="one person in the batch"),
    ],
)
def test_training_is_finite_with_the_same_keys_and_reaches_every_parameter(model, people):
    inputs = [training_input(i, pids) for i, pids in enumerate(people)]
    losses = losses_of(model, inputs)
    assert set(losses) == LOSS_KEYS
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert not without, "distributed training needs a gradient for every parameter"
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(torch.isfinite(b).all() for b in model.buffers()), "running statistics"


def test_nobody_labeled_trains_the_alignment_only(model):
    losses = losses_of(model, [training_input(0, [UNLABELED, UNLABELED, UNLABELED])])
    assert all(v == 0 for k, v in losses.items() if k.startswith("loss_id"))
    assert all(v > 0 for k, v in losses.items() if k.startswith("loss_align"))


def test_no_people_costs_the_reid_nothing(model):
    losses = losses_of(model, [training_input(0, [])])
    assert all(v == 0 for k, v in losses.items() if k.startswith(("loss_id", "loss_align")))


def test_golden_losses(model):
    # Seed 0 for the weights, 5 for the sampling; CPU, float32. A change here is a change of the
    # model's arithmetic; the tolerance leaves room for other versions of torch and processors. The
    # classifiers are scaled up from their small initial weights, or every prediction is uniform.
    for classifier in model.clsa_heads.classifiers.values():
        classifier.weight.data *= 100
    losses = losses_of(model, [training_input(0, [0, 1]), training_input(1, [2, UNLABELED])])
    golden = {
        "loss_rpn_cls": 0.6934,
        "loss_rpn_loc": 0.0110,
        "loss_cls": 0.6906,
        "loss_box_reg": 0.4481,
        "loss_id_res3": 1.9617,
        "loss_id_res4": 1.2617,
        "loss_id_res5": 2.8097,
        "loss_align_res3": 1.0035,
        "loss_align_res4": 3.0453,
    }
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(golden, rel=5e-3, abs=1e-4)


@pytest.fixture
def searcher(model):
    """The model at inference, with statistics of a few batches instead of initial ones."""
    for seed in range(3):
        losses_of(model, [training_input(seed, [0, 1, 2]), training_input(seed + 9, [1])])
    return model.eval()


def with_queries(seed, boxes, ids, scale=1):
    return {
        "image": picture(seed),
        "height": 64 * scale,
        "width": 96 * scale,
        "query_boxes": Boxes(torch.tensor(boxes)),
        "query_ids": torch.tensor(ids),
    }


@torch.no_grad()
def test_outputs_have_the_promised_fields(searcher):
    plain = {"image": picture(1), "height": 128, "width": 192}
    asked = with_queries(2, [[10.0, 5.0, 30.0, 50.0], [0.0, 0.0, 96.0, 64.0]], [7, 3], scale=2)
    first, second = searcher([plain, asked])
    assert set(first) == {"instances"} and set(second) == {"instances", "queries"}
    found = first["instances"]
    assert len(found) > 0 and found.image_size == (128, 192)
    assert found.embeddings.shape == (len(found), 3 * 8)
    torch.testing.assert_close(found.embeddings.norm(dim=1), torch.ones(len(found)))
    queries = second["queries"]
    assert queries.query_ids.tolist() == [7, 3]
    torch.testing.assert_close(
        queries.pred_boxes.tensor, torch.tensor([[20.0, 10, 60, 100], [0, 0, 192, 128]])
    )


@torch.no_grad()
def test_a_query_gets_the_embedding_of_an_equal_detection(searcher):
    found = searcher([{"image": picture(4), "height": 64, "width": 96}])[0]["instances"]
    boxes = found.pred_boxes.tensor.tolist()
    asked = searcher([with_queries(4, boxes, list(range(len(boxes))))])[0]
    assert len(boxes) > 1
    torch.testing.assert_close(asked["queries"].embeddings, found.embeddings)
    torch.testing.assert_close(asked["instances"].embeddings, found.embeddings)


@torch.no_grad()
def test_known_boxes_are_described_in_place_of_detections(searcher):
    asked = searcher([with_queries(4, [[10.0, 5.0, 30.0, 50.0]], [0])])[0]["queries"]
    known = Instances((64, 96))
    known.pred_boxes = Boxes(torch.tensor([[10.0, 5.0, 30.0, 50.0]]))
    given = searcher.inference([{"image": picture(4), "height": 128, "width": 192}], [known])[0]
    torch.testing.assert_close(given["instances"].embeddings, asked.embeddings)
    assert given["instances"].pred_boxes.tensor.tolist() == [[20.0, 10.0, 60.0, 100.0]]
    assert known.pred_boxes.tensor.tolist() == [[10.0, 5.0, 30.0, 50.0]], "the caller's boxes"


@torch.no_grad()
def test_company_in_the_batch_changes_nothing(searcher):
    asked = with_queries(4, [[10.0, 5.0, 30.0, 50.0]], [0])
    alone = searcher([asked])[0]
    together = searcher([{"image": picture(8), "height": 64, "width": 96}, asked])[1]
    for key in ("instances", "queries"):
        torch.testing.assert_close(
            together[key].embeddings, alone[key].embeddings, atol=1e-5, rtol=1e-4
        )


@torch.no_grad()
def test_inputs_are_left_as_they_were(searcher):
    asked = with_queries(4, [[10.0, 5.0, 30.0, 50.0]], [0], scale=3)
    before = {k: v.clone() for k, v in asked.items() if hasattr(v, "clone")}
    searcher([asked])
    assert torch.equal(asked["query_boxes"].tensor, before["query_boxes"].tensor)
    assert torch.equal(asked["image"], before["image"])


@torch.no_grad()
def test_nobody_found_is_an_ordinary_answer(searcher):
    searcher.roi_heads.box_predictor.test_score_thresh = 1.1
    nothing, asked = searcher(
        [
            {"image": picture(1), "height": 64, "width": 96},
            with_queries(2, [[10.0, 5.0, 30.0, 50.0]], [0]),
        ]
    )
    assert nothing["instances"].embeddings.shape == (0, 24)
    assert asked["queries"].embeddings.shape == (1, 24)
    assert searcher([{"image": picture(1), "height": 64, "width": 96}])[0].keys() == {"instances"}
