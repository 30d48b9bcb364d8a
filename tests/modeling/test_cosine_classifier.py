"""The cosine classifier: logits and margin by hand, and its place in the criterion."""

import math

import pytest
import torch
from torch.nn import functional as F

from clsa_search.modeling import CLSACriterion, CosineClassifier, LevelEmbeddings, identity_loss
from clsa_search.structures import UNLABELED
from tests.support.level_features import LEVELS


def build(scale=10.0, margin=0.35, rows=((1.0, 0.0), (0.0, 2.0))):
    classifier = CosineClassifier(embed_dim=2, num_ids=2, scale=scale, margin=margin)
    with torch.no_grad():
        classifier.weight.copy_(torch.tensor(rows))
    return classifier


def test_logits_are_scaled_cosines():
    logits = build()(torch.tensor([[3.0, 4.0], [0.0, -1.0]]))
    torch.testing.assert_close(logits, torch.tensor([[6.0, 8.0], [0.0, -10.0]]))


def test_the_margin_is_taken_from_the_true_identity():
    classifier = build()
    logits = classifier(torch.tensor([[3.0, 4.0]]))
    pids = torch.tensor([1])
    penalized = classifier.penalize(logits, pids)
    torch.testing.assert_close(penalized, torch.tensor([[6.0, 8.0 - 3.5]]))
    expected = math.log(1 + math.exp(6.0 - 4.5))
    assert identity_loss(penalized, pids).item() == pytest.approx(expected)
    torch.testing.assert_close(build(margin=0.0).penalize(logits, pids), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_float32_logits(dtype):
    classifier, rows = build(), torch.tensor([[3.0, 4.0]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = classifier(rows.to(dtype))
    torch.testing.assert_close(logits, torch.tensor([[6.0, 8.0]]))


def test_zero_embeddings_have_a_finite_gradient():
    rows = torch.zeros(2, 2, requires_grad=True)
    identity_loss(build()(rows), torch.tensor([0, 1])).backward()
    assert rows.grad.isfinite().all()


def test_the_alignment_sees_no_margin_and_the_identity_loss_does(tiny_cfg):
    reid = tiny_cfg.MODEL.REID
    reid.CLASSIFIER, reid.HEAD.EMBED_DIM = "CosineClassifier", 4
    rows = {
        level: torch.randn(5, 4, generator=torch.Generator().manual_seed(i))
        for i, level in enumerate(LEVELS)
    }
    pids = torch.tensor([0, 1, UNLABELED, 1, 0])
    criterion = CLSACriterion(tiny_cfg, list(LEVELS))
    with_margin = criterion(LevelEmbeddings(rows, rows), pids)
    for classifier in criterion.classifiers.values():
        classifier.margin = 0.0
    without = criterion(LevelEmbeddings(rows, rows), pids)
    for name, loss in with_margin.items():
        if name.startswith("loss_id"):
            assert loss > without[name]
        else:
            torch.testing.assert_close(loss, without[name])
    unit, known = F.normalize(rows["res3"], dim=1), pids >= 0
    cosines = unit @ F.normalize(criterion.classifiers["res3"].weight, dim=1).T
    expected = F.cross_entropy(reid.COSINE.SCALE * cosines[known], pids[known])
    torch.testing.assert_close(without["loss_id_res3"], expected)


@pytest.mark.parametrize("pids", [[UNLABELED, UNLABELED], [1, 1]])
def test_a_batch_without_labels_or_of_one_person_has_the_same_keys(tiny_cfg, pids):
    reid = tiny_cfg.MODEL.REID
    reid.CLASSIFIER, reid.HEAD.EMBED_DIM, reid.LABEL_SMOOTHING = "CosineClassifier", 4, 0.1
    criterion = CLSACriterion(tiny_cfg, list(LEVELS))
    rows = {level: torch.randn(2, 4, requires_grad=True) for level in LEVELS}
    losses = criterion(LevelEmbeddings(rows, rows), torch.tensor(pids))
    assert set(losses) == {f"loss_id_{x}" for x in LEVELS} | {"loss_align_res3", "loss_align_res4"}
    sum(losses.values()).backward()
    assert all(x.grad.isfinite().all() for x in rows.values())
