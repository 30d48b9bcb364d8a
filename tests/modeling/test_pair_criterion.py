"""Which embeddings and which lookup tables the losses of pairs compare."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clsa_search.modeling import (
    CLSACriterion,
    LevelEmbeddings,
    OIMClassifier,
    PairCriterion,
)
from clsa_search.structures import UNLABELED
from tests.support.level_features import LEVELS

PIDS = torch.tensor([0, 1, UNLABELED, 0, 1, 2, 0, 1, 1, 0, 0])
ALL = {"same_person_weight": 1.0, "decorrelation_weight": 1.0, "triplet_weight": 1.0}


def build(**options):
    return PairCriterion(align_targets=["res3", "res4"], triplet_levels=list(LEVELS), **options)


def make_embeddings(rows=11):
    """Return independent embeddings before and behind the neck, leaves that need a gradient."""
    generator = torch.Generator().manual_seed(0)
    both = (
        {x: torch.randn(rows, 4, generator=generator).requires_grad_() for x in LEVELS}
        for _ in range(2)
    )
    return LevelEmbeddings(*both)


def has_gradient(loss, embeddings):
    values = list(embeddings.values())
    found = torch.autograd.grad(loss, values, allow_unused=True, retain_graph=True)
    return any(x is not None and x.any() for x in found)


@pytest.mark.parametrize("behind_neck", [False, True])
def test_triplets_are_before_the_neck_and_alignment_where_the_config_says(behind_neck):
    embeddings = make_embeddings()
    losses = build(**ALL, behind_neck=behind_neck)(embeddings, PIDS, nn.ModuleDict())
    assert list(losses) == [
        *("loss_same_res3", "loss_same_res4", "loss_decorrelation"),
        *("loss_triplet_res3", "loss_triplet_res4", "loss_triplet_res5"),
    ]
    for name, loss in losses.items():
        expected = behind_neck and "triplet" not in name
        assert has_gradient(loss, embeddings.behind_neck) == expected
        assert has_gradient(loss, embeddings.before_neck) != expected


def test_the_weight_of_the_triplets_does_not_rise_with_the_alignment():
    embeddings = make_embeddings()
    full = build(**ALL)(embeddings, PIDS, nn.ModuleDict())
    doubled = build(**ALL | {"triplet_weight": 2.0})
    for name, loss in doubled(embeddings, PIDS, nn.ModuleDict(), align_share=0.5).items():
        torch.testing.assert_close(loss, full[name] * (2.0 if "triplet" in name else 0.5))


def build_from(cfg, **keys):
    align = cfg.MODEL.REID.ALIGN
    align.SAME_PERSON_WEIGHT = align.DECORRELATION_WEIGHT = cfg.MODEL.REID.TRIPLET.WEIGHT = 1.0
    cfg.merge_from_list([x for key, value in keys.items() for x in (f"MODEL.REID.{key}", value)])
    return CLSACriterion(cfg, list(LEVELS))


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({"CLASSIFIER": "SoftmaxClassifier", "HEAD.NECK": "bn"}, 0),
        ({"CLASSIFIER": "OIMClassifier", "HEAD.NECK": "none"}, 0),
        ({"CLASSIFIER": "OIMClassifier", "HEAD.NECK": "bn"}, 3),
        ({"CLASSIFIER": "OIMClassifier", "HEAD.NECK": "bn", "NUM_IDS": 0}, 0),
        ({"CLASSIFIER": "OIMClassifier", "HEAD.NECK": "bn", "ALIGN.BEHIND_NECK": True}, 3),
    ],
)
def test_oim_behind_a_neck_needs_tables_of_what_is_before_it(tiny_cfg, keys, count):
    assert len(build_from(tiny_cfg, **keys).pairs.tables) == count


def test_tables_before_the_neck_are_not_kept_for_nothing(tiny_cfg):
    keys = {"CLASSIFIER": "OIMClassifier", "HEAD.NECK": "bn", "ALIGN.BEHIND_NECK": True}
    criterion = build_from(tiny_cfg, **keys, **{"TRIPLET.WEIGHT": 0.0})
    assert not criterion.pairs.tables
    assert not any(key.startswith("pairs") for key in criterion.state_dict())


def test_each_table_learns_its_own_embeddings(tiny_cfg):
    tiny_cfg.MODEL.REID.HEAD.EMBED_DIM = 4
    criterion = build_from(tiny_cfg, **{"CLASSIFIER": "OIMClassifier", "HEAD.NECK": "bn"})
    embeddings = make_embeddings()
    criterion(embeddings, PIDS)
    for level in LEVELS:
        tables = (criterion.pairs.tables[level], criterion.classifiers[level])
        for table, rows in zip(tables, embeddings, strict=True):
            assert isinstance(table, OIMClassifier)
            expected = F.normalize(rows[level][5], dim=0)
            torch.testing.assert_close(table.lookup_table[2], expected)


def make_tables(seed):
    tables = {}
    for level in LEVELS:
        tables[level] = OIMClassifier(
            embed_dim=4, num_ids=2, queue_size=0, momentum=0.5, temperature=0.1
        )
        rows = torch.randn(2, 4, generator=torch.Generator().manual_seed(seed))
        tables[level].update(rows, torch.tensor([0, 1]))
    return nn.ModuleDict(tables)


def test_the_losses_compare_with_the_table_of_their_own_embeddings():
    embeddings, alone = make_embeddings(rows=2), torch.tensor([0, 1])  # nobody is twice there
    options = {"triplet_weight": 1.0, "same_person_weight": 1.0, "margin": 2.0}
    # without a neck the classifier's table is the one
    expected = build(**options)(embeddings, alone, make_tables(7))
    losses = build(**options, tables=make_tables(7))(embeddings, alone, make_tables(8))
    assert losses["loss_triplet_res3"].item() > 0
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name])
