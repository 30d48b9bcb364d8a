"""Which loss moves which level, by configuration."""

import pytest
import torch
from detectron2.layers import ShapeSpec

from clsa_search.errors import InputError
from clsa_search.modeling import FILLER, CLSAHeads, SoftmaxClassifier
from clsa_search.structures import UNLABELED

CHANNELS = {"res3": 6, "res4": 8, "res5": 10}


def build(levels=("res3", "res4", "res5"), num_ids=5, **changes):
    arguments = {
        "hidden_dim": 12,
        "embed_dim": 7,
        "norm": "BN",
        "classifiers": {
            level: SoftmaxClassifier(embed_dim=7, num_ids=num_ids) for level in levels if num_ids
        },
        "id_weight": 1.0,
        "id_levels": list(levels),
        "align_weight": 1.0,
        "align_targets": list(levels[:-1]),
        "temperature": 3.0,
        "detach_source": False,
        "align_unlabeled": True,
    }
    shapes = {level: ShapeSpec(channels=CHANNELS[level]) for level in levels}
    return CLSAHeads(input_shape=shapes, **(arguments | changes))


def features(rows=6, levels=("res3", "res4", "res5")):
    generator = torch.Generator().manual_seed(3)
    return {
        level: torch.randn(rows, CHANNELS[level], 4, 2, generator=generator).requires_grad_()
        for level in levels
    }


PIDS = torch.tensor([0, 1, UNLABELED, 4, 1, UNLABELED])


def reached(losses, key, inputs):
    """The levels whose features a loss has a gradient for."""
    gradients = torch.autograd.grad(
        losses[key], list(inputs.values()), allow_unused=True, retain_graph=True
    )
    return {
        level
        for level, gradient in zip(inputs, gradients, strict=True)
        if gradient is not None and gradient.abs().max() > 0
    }


def test_every_loss_reaches_its_levels():
    inputs = features()
    losses = build()(inputs, PIDS)
    for level in inputs:
        assert reached(losses, f"loss_id_{level}", inputs) == {level}
    assert reached(losses, "loss_align_res3", inputs) == {"res3", "res5"}
    assert reached(losses, "loss_align_res4", inputs) == {"res4", "res5"}


def test_a_detached_source_is_not_moved():
    inputs = features()
    losses = build(detach_source=True)(inputs, PIDS)
    assert reached(losses, "loss_align_res3", inputs) == {"res3"}
    assert reached(losses, "loss_align_res4", inputs) == {"res4"}


def test_detaching_changes_the_gradient_only():
    heads, inputs = build(), features()
    free = heads(inputs, PIDS)
    heads.detach_source = True
    for key, loss in heads(inputs, PIDS).items():
        torch.testing.assert_close(loss, free[key])


def test_weights_scale_their_losses():
    heads, inputs = build(), features()
    plain = heads(inputs, PIDS)
    heads.id_weight, heads.align_weight = 0.5, 4.0
    for key, loss in heads(inputs, PIDS).items():
        factor = 0.5 if key.startswith("loss_id") else 4.0
        torch.testing.assert_close(loss, factor * plain[key])


def test_cross_entropy_on_top_only_leaves_the_targets_to_the_alignment():
    inputs = features()
    losses = build(id_levels=["res5"], detach_source=True)(inputs, PIDS)
    assert set(losses) == {"loss_id_res5", "loss_align_res3", "loss_align_res4"}
    assert reached(losses, "loss_align_res3", inputs) == {"res3"}


def test_targets_are_a_choice():
    assert set(build(align_targets=["res4"])(features(), PIDS)) == {
        *("loss_id_res3", "loss_id_res4", "loss_id_res5", "loss_align_res4")
    }


def test_the_unlabeled_can_be_left_out_of_the_alignment():
    heads, inputs = build(norm="GN", hidden_dim=32, align_unlabeled=False), features()
    known = PIDS != UNLABELED
    only = heads({level: feature[known] for level, feature in inputs.items()}, PIDS[known])
    everybody = heads(inputs, PIDS)
    for key in only:
        torch.testing.assert_close(everybody[key], only[key])
    heads.align_unlabeled = True
    assert heads(inputs, PIDS)["loss_align_res3"] != only["loss_align_res3"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1, 1e6])
def test_autocast_leaves_heads_classifiers_and_losses_in_float32(dtype, scale):
    heads, inputs = build(), features()
    for head in heads.heads.values():
        head.embed.weight.data *= scale
    losses = heads(inputs, PIDS)
    with torch.autocast("cpu", dtype=dtype):
        half = heads(inputs, PIDS)
    for key, loss in losses.items():
        assert loss.isfinite()
        torch.testing.assert_close(half[key], loss)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.REID.CLASSIFIER", "Softmax"], r"CLASSIFIER is 'Softmax'.*OIMClassifier"),
        (["MODEL.REID.ID_LEVELS", "['res2']"], r"ID_LEVELS has 'res2'.*res3, res4, res5"),
        (["MODEL.REID.ALIGN.TARGETS", "['res5']"], r"ALIGN.TARGETS has 'res5'.*res3, res4"),
        (
            ["MODEL.REID.ID_LEVELS", "['res5']", "MODEL.REID.ALIGN.TARGETS", "['res4']"],
            "'res3', which no loss trains",
        ),
        (
            ["MODEL.REID.ID_LEVELS", "['res3']", "MODEL.REID.ALIGN.DETACH_SOURCE", "True"],
            "'res5', which no loss trains",
        ),
    ],
)
def test_faulty_configs_are_named(tiny_cfg, opts, message):
    tiny_cfg.merge_from_list(opts)
    shapes = {level: ShapeSpec(channels=4) for level in CHANNELS}
    with pytest.raises(InputError, match=message):
        CLSAHeads(tiny_cfg, shapes)


def test_fillers_count_for_nothing():
    heads, inputs = build(norm="GN", hidden_dim=32), features()
    real = heads({k: v[:4] for k, v in inputs.items()}, PIDS[:4])
    filled = heads(inputs, torch.cat([PIDS[:4], torch.tensor([FILLER, FILLER])]))
    for key in real:
        torch.testing.assert_close(filled[key], real[key])


def test_one_level_alone_is_the_single_scale_baseline():
    heads = build(levels=("res5",))
    assert set(heads(features(levels=("res5",)), PIDS)) == {"loss_id_res5"}
    heads.eval()
    assert heads(features(levels=("res5",))).shape == (6, 7)


def test_embedding_is_the_concatenation_of_unit_levels():
    heads, inputs = build().eval(), features()
    embeddings = heads(inputs)
    assert embeddings.shape == (6, 3 * 7)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(6))
    for i, level in enumerate(inputs):
        unit = torch.nn.functional.normalize(heads.heads[level](inputs[level]), dim=1)
        torch.testing.assert_close(embeddings[:, 7 * i : 7 * (i + 1)] * 3**0.5, unit)


def test_levels_are_averaged_over_the_box():
    heads, inputs = build().eval(), features()
    flat = {k: v.mean(dim=(2, 3), keepdim=True).expand_as(v) for k, v in inputs.items()}
    torch.testing.assert_close(heads(inputs), heads(flat))


def test_half_precision_features_give_float32_losses_and_embeddings():
    heads = build()
    inputs = {level: feature.to(torch.bfloat16) for level, feature in features().items()}
    assert all(loss.dtype == torch.float32 for loss in heads(inputs, PIDS).values())
    assert heads.eval()(inputs).dtype == torch.float32


def test_without_identities_there_are_no_classifiers():
    heads = build(num_ids=0)
    assert not any("classifier" in name for name, _ in heads.named_parameters())
    assert heads.eval()(features()).shape == (6, 21)


@pytest.mark.parametrize("norm", ["BN", "GN", "FrozenBN", ""])
def test_every_norm_of_detectron2_serves(norm):
    losses = build(norm=norm, hidden_dim=32)(features(), PIDS)
    assert all(torch.isfinite(loss) for loss in losses.values())
