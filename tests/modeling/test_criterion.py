"""The criterion: which loss trains which level, by configuration."""

import pytest
import torch
from torch import nn

from clsa_search.errors import InputError
from clsa_search.modeling import (
    FILLER,
    CLSACriterion,
    OIMClassifier,
    PairCriterion,
    ReIDHeads,
    SoftmaxClassifier,
)
from clsa_search.structures import UNLABELED
from tests.support.level_features import LEVELS, build_heads, level_features

PIDS = torch.tensor([0, 1, UNLABELED, 4, 1, UNLABELED])


class Objective(nn.Module):
    """Heads and criterion as the model calls them: feature maps to losses."""

    def __init__(self, heads, criterion):
        super().__init__()
        self.heads = heads
        self.criterion = criterion

    def forward(self, features, pids):
        return self.criterion(self.heads(features), pids)


def pair_losses(levels=LEVELS, **changes):
    arguments = {"align_targets": list(levels[:-1]), "triplet_levels": list(levels)}
    return PairCriterion(**(arguments | changes))


def build(levels=LEVELS, norm="BN", hidden_dim=12, **changes):
    arguments = {
        "classifiers": {level: SoftmaxClassifier(embed_dim=7, num_ids=5) for level in levels},
        "id_weight": 1.0,
        "id_levels": list(levels),
        "align_weight": 1.0,
        "align_targets": list(levels[:-1]),
        "temperature": 3.0,
        "detach_source": False,
        "align_unlabeled": True,
    }
    heads = ReIDHeads(heads=build_heads(levels, norm=norm, hidden_dim=hidden_dim))
    return Objective(heads, CLSACriterion(**(arguments | changes)))


def trained_levels(losses, key, inputs):
    """Return the levels whose feature maps get a gradient from a loss."""
    gradients = torch.autograd.grad(
        losses[key], list(inputs.values()), allow_unused=True, retain_graph=True
    )
    return {
        level
        for level, gradient in zip(inputs, gradients, strict=True)
        if gradient is not None and gradient.abs().max() > 0
    }


def test_every_loss_trains_its_levels():
    inputs = level_features()
    losses = build()(inputs, PIDS)
    for level in inputs:
        assert trained_levels(losses, f"loss_id_{level}", inputs) == {level}
    assert trained_levels(losses, "loss_align_res3", inputs) == {"res3", "res5"}
    assert trained_levels(losses, "loss_align_res4", inputs) == {"res4", "res5"}


def test_a_detached_source_gets_no_gradient():
    inputs = level_features()
    losses = build(detach_source=True)(inputs, PIDS)
    assert trained_levels(losses, "loss_align_res3", inputs) == {"res3"}
    assert trained_levels(losses, "loss_align_res4", inputs) == {"res4"}


def test_detaching_the_source_changes_the_gradient_only():
    objective, inputs = build(), level_features()
    free = objective(inputs, PIDS)
    objective.criterion.detach_source = True
    for key, loss in objective(inputs, PIDS).items():
        torch.testing.assert_close(loss, free[key])


def test_weights_scale_their_losses():
    objective, inputs = build(), level_features()
    plain = objective(inputs, PIDS)
    objective.criterion.id_weight, objective.criterion.align_weight = 0.5, 4.0
    for key, loss in objective(inputs, PIDS).items():
        factor = 0.5 if key.startswith("loss_id") else 4.0
        torch.testing.assert_close(loss, factor * plain[key])


def test_without_an_identity_loss_targets_learn_from_the_alignment():
    inputs = level_features()
    losses = build(id_levels=["res5"], detach_source=True)(inputs, PIDS)
    assert set(losses) == {"loss_id_res5", "loss_align_res3", "loss_align_res4"}
    assert trained_levels(losses, "loss_align_res3", inputs) == {"res3"}


def test_alignment_targets_can_be_chosen():
    assert set(build(align_targets=["res4"])(level_features(), PIDS)) == {
        *("loss_id_res3", "loss_id_res4", "loss_id_res5", "loss_align_res4")
    }


def test_one_level_alone_has_an_identity_loss_only():
    objective = build(levels=("res5",))
    assert set(objective(level_features(levels=("res5",)), PIDS)) == {"loss_id_res5"}


def test_unlabeled_boxes_can_be_left_out_of_the_alignment():
    objective, inputs = build(norm="GN", hidden_dim=32, align_unlabeled=False), level_features()
    known = PIDS != UNLABELED
    labeled_only = objective({level: maps[known] for level, maps in inputs.items()}, PIDS[known])
    losses = objective(inputs, PIDS)
    for key in labeled_only:
        torch.testing.assert_close(losses[key], labeled_only[key])
    objective.criterion.align_unlabeled = True
    assert objective(inputs, PIDS)["loss_align_res3"] != labeled_only["loss_align_res3"]


def test_fillers_change_no_loss():
    objective, inputs = build(norm="GN", hidden_dim=32), level_features()
    real = objective({k: v[:4] for k, v in inputs.items()}, PIDS[:4])
    filled = objective(inputs, torch.cat([PIDS[:4], torch.tensor([FILLER, FILLER])]))
    for key in real:
        torch.testing.assert_close(filled[key], real[key])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1, 1e6])
def test_autocast_leaves_heads_classifiers_and_losses_in_float32(dtype, scale):
    objective, inputs = build(), level_features()
    for head in objective.heads.values():
        head.embed.weight.data *= scale
    losses = objective(inputs, PIDS)
    with torch.autocast("cpu", dtype=dtype):
        half = objective(inputs, PIDS)
    for key, loss in losses.items():
        assert loss.isfinite()
        torch.testing.assert_close(half[key], loss)


def test_half_precision_features_give_float32_losses():
    inputs = {level: maps.to(torch.bfloat16) for level, maps in level_features().items()}
    assert all(loss.dtype == torch.float32 for loss in build()(inputs, PIDS).values())


@pytest.mark.parametrize("norm", ["BN", "GN", "FrozenBN", ""])
def test_losses_are_finite_with_every_norm(norm):
    losses = build(norm=norm, hidden_dim=32)(level_features(), PIDS)
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_without_identities_there_are_no_classifiers(tiny_cfg):
    tiny_cfg.MODEL.REID.NUM_IDS = 0
    assert not list(CLSACriterion(tiny_cfg, list(LEVELS)).parameters())


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.REID.CLASSIFIER", "Softmax"], r"CLASSIFIER is 'Softmax'.*OIMClassifier"),
        (["MODEL.REID.ID_LEVELS", "['res2']"], r"ID_LEVELS has 'res2'.*res3, res4, res5"),
        (["MODEL.REID.ALIGN.TARGETS", "['res5']"], r"ALIGN.TARGETS has 'res5'.*res3, res4"),
        (
            ["MODEL.REID.ID_LEVELS", "['res5']", "MODEL.REID.ALIGN.TARGETS", "['res4']"],
            "'res3', but no loss trains",
        ),
        (
            ["MODEL.REID.ID_LEVELS", "['res3']", "MODEL.REID.ALIGN.DETACH_SOURCE", "True"],
            "'res5', but no loss trains",
        ),
    ],
)
def test_config_errors_name_key_and_value(tiny_cfg, opts, message):
    tiny_cfg.merge_from_list(opts)
    with pytest.raises(InputError, match=message):
        CLSACriterion(tiny_cfg, list(LEVELS))


def test_losses_between_levels_have_their_keys_and_train_their_levels():
    inputs = level_features()
    objective = build(pairs=pair_losses(same_person_weight=1.0, decorrelation_weight=1.0))
    losses = objective(inputs, PIDS)
    assert {"loss_same_res3", "loss_same_res4", "loss_decorrelation"} <= losses.keys()
    assert trained_levels(losses, "loss_decorrelation", inputs) == set(LEVELS)
    # the source is fixed
    assert "res5" not in trained_levels(losses, "loss_same_res3", inputs)


def test_a_batch_without_pairs_has_the_same_keys():
    objective = build(pairs=pair_losses(same_person_weight=1.0, decorrelation_weight=1.0))
    usual = objective(level_features(), PIDS)
    for pids in ([UNLABELED] * 6, [0] + [UNLABELED] * 5, [1] * 6):
        losses = objective(level_features(), torch.tensor(pids))
        assert losses.keys() == usual.keys()
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert losses["loss_decorrelation"].item() == 0


def test_alignment_weights_rise_over_the_first_share_of_the_training():
    objective, inputs = (
        build(pairs=pair_losses(same_person_weight=2.0), ramp=0.25),
        level_features(),
    )
    full = objective(inputs, PIDS)
    for progress, share in [(0.0, 0.0), (0.125, 0.5), (0.25, 1.0), (0.9, 1.0)]:
        objective.criterion.set_progress(progress)
        losses = objective(inputs, PIDS)
        for key in ("loss_align_res3", "loss_same_res4"):
            torch.testing.assert_close(losses[key], share * full[key])
        torch.testing.assert_close(losses["loss_id_res3"], full["loss_id_res3"])


def test_oim_pairs_each_box_with_its_lookup_table():
    oim = {
        level: OIMClassifier(embed_dim=7, num_ids=5, queue_size=2, momentum=0.5, temperature=0.1)
        for level in LEVELS
    }
    for seed, classifier in enumerate(oim.values()):
        rows = torch.randn(5, 7, generator=torch.Generator().manual_seed(seed))
        classifier.update(rows, torch.arange(5))
    objective = build(classifiers=oim, pairs=pair_losses(same_person_weight=1.0))
    alone = torch.tensor([0, 1, 2, 3, 4, UNLABELED])  # nobody is twice in the batch
    assert objective(level_features(), alone)["loss_same_res3"].item() > 0
