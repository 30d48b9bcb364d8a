"""The re-ID heads: shapes, norms, precision, and the embedding over all levels."""

import pytest
import torch

from clsa_search.errors import InputError
from clsa_search.modeling import ReIDHeads
from tests.support.level_features import LEVELS, build_heads, level_features


def build(levels=LEVELS, norm="BN", hidden_dim=12, **options):
    return ReIDHeads(heads=build_heads(levels, norm=norm, hidden_dim=hidden_dim, **options))


def test_one_level_alone_gives_its_own_embedding():
    heads = build(levels=("res5",)).eval()
    embeddings = heads(level_features(levels=("res5",)))
    assert list(embeddings.behind_neck) == ["res5"]
    assert heads.concatenate(embeddings).shape == (6, 7)


def test_the_concatenated_embedding_has_the_unit_embeddings_of_all_levels():
    heads, inputs = build().eval(), level_features()
    embeddings = heads.concatenate(heads(inputs))
    levels = heads(inputs).behind_neck
    assert embeddings.shape == (6, 3 * 7)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(6))
    for i, level in enumerate(inputs):
        torch.testing.assert_close(levels[level], heads[level](inputs[level]))
        unit = torch.nn.functional.normalize(levels[level], dim=1)
        torch.testing.assert_close(embeddings[:, 7 * i : 7 * (i + 1)] * 3**0.5, unit)


def test_a_level_is_averaged_over_the_box():
    heads, inputs = build().eval(), level_features()
    flat = {k: v.mean(dim=(2, 3), keepdim=True).expand_as(v) for k, v in inputs.items()}
    torch.testing.assert_close(heads(inputs).behind_neck, heads(flat).behind_neck)


def test_half_precision_features_give_float32_embeddings():
    heads = build().eval()
    inputs = {level: maps.to(torch.bfloat16) for level, maps in level_features().items()}
    embeddings = heads(inputs)
    assert all(x.dtype == torch.float32 for x in embeddings.behind_neck.values())
    assert heads.concatenate(embeddings).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1, 1e6])
def test_autocast_leaves_the_heads_in_float32(dtype, scale):
    heads, inputs = build(), level_features()
    for head in heads.values():
        head.embed.weight.data *= scale
    expected = heads(inputs).behind_neck
    with torch.autocast("cpu", dtype=dtype):
        half = heads(inputs).behind_neck
    for level, embedding in expected.items():
        assert embedding.isfinite().all()
        torch.testing.assert_close(half[level], embedding)


@pytest.mark.parametrize("norm", ["BN", "GN", "FrozenBN", ""])
def test_every_norm_of_detectron2_works(norm):
    embeddings = build(norm=norm, hidden_dim=32)(level_features())
    assert all(embedding.isfinite().all() for embedding in embeddings.behind_neck.values())


def test_behind_the_neck_a_batch_has_mean_zero_and_variance_one():
    heads = build(neck="bn")
    before, behind = heads(level_features())
    for level, rows in before.items():
        expected = (rows - rows.mean(dim=0)) / (rows.var(dim=0, unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(behind[level], expected)


def test_the_neck_of_the_paper_head_has_a_scale_and_no_bias():
    head = build(neck="bn")["res5"]
    trained = {name for name, value in head.neck.named_parameters() if value.requires_grad}
    assert trained == {"weight"} and not head.neck.bias.any()


def test_the_concatenation_is_of_the_embeddings_behind_the_necks():
    heads, inputs = build(neck="bn").eval(), level_features()
    for head in heads.values():
        head.neck.running_mean.fill_(1.0)
    levels = [heads[level](maps) for level, maps in inputs.items()]
    expected = torch.cat([torch.nn.functional.normalize(x, dim=1) for x in levels], dim=1) / 3**0.5
    torch.testing.assert_close(heads.concatenate(heads(inputs)), expected)


def test_without_a_neck_both_embeddings_are_equal():
    before, behind = build()(level_features())
    assert all(before[level] is behind[level] for level in LEVELS)


def test_no_boxes_give_no_embeddings_behind_a_neck():
    heads = build(neck="bn").eval()
    assert heads.concatenate(heads(level_features(rows=0))).shape == (0, 3 * 7)


def test_the_generalized_mean_is_an_option_of_the_paper_head():
    inputs = level_features()
    torch.manual_seed(0)
    average = build().eval()
    torch.manual_seed(0)
    general = build(pool="gem", gem_p=1.0).eval()
    positive = {level: maps.abs() for level, maps in inputs.items()}
    torch.testing.assert_close(
        general.concatenate(general(positive)), average.concatenate(average(positive))
    )
    general.train()(inputs).behind_neck["res5"].square().sum().backward()
    assert general["res5"].pool.p.grad.abs() > 0


def test_a_neck_with_an_fc_layer_is_refused():
    with pytest.raises(InputError, match=r"HEAD.NECK is 'fc_bn'; expected 'none' or 'bn' .*CLSAHe"):
        build(neck="fc_bn")
