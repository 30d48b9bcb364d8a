"""The re-ID heads: shapes, norms, precision, and the embedding over all levels."""

import pytest
import torch

from clsa_search.modeling import ReIDHeads
from tests.support.level_features import LEVELS, build_heads, level_features


def build(levels=LEVELS, norm="BN", hidden_dim=12):
    return ReIDHeads(heads=build_heads(levels, norm=norm, hidden_dim=hidden_dim))


def test_one_level_alone_gives_its_own_embedding():
    heads = build(levels=("res5",)).eval()
    embeddings = heads(level_features(levels=("res5",)))
    assert list(embeddings) == ["res5"]
    assert heads.concatenate(embeddings).shape == (6, 7)


def test_the_concatenated_embedding_has_the_unit_embeddings_of_all_levels():
    heads, inputs = build().eval(), level_features()
    levels = heads(inputs)
    embeddings = heads.concatenate(levels)
    assert embeddings.shape == (6, 3 * 7)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(6))
    for i, level in enumerate(inputs):
        torch.testing.assert_close(levels[level], heads[level](inputs[level]))
        unit = torch.nn.functional.normalize(levels[level], dim=1)
        torch.testing.assert_close(embeddings[:, 7 * i : 7 * (i + 1)] * 3**0.5, unit)


def test_a_level_is_averaged_over_the_box():
    heads, inputs = build().eval(), level_features()
    flat = {k: v.mean(dim=(2, 3), keepdim=True).expand_as(v) for k, v in inputs.items()}
    torch.testing.assert_close(heads(inputs), heads(flat))


def test_half_precision_features_give_float32_embeddings():
    heads = build().eval()
    inputs = {level: maps.to(torch.bfloat16) for level, maps in level_features().items()}
    embeddings = heads(inputs)
    assert all(embedding.dtype == torch.float32 for embedding in embeddings.values())
    assert heads.concatenate(embeddings).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1, 1e6])
def test_autocast_leaves_the_heads_in_float32(dtype, scale):
    heads, inputs = build(), level_features()
    for head in heads.values():
        head.embed.weight.data *= scale
    expected = heads(inputs)
    with torch.autocast("cpu", dtype=dtype):
        half = heads(inputs)
    for level, embedding in expected.items():
        assert embedding.isfinite().all()
        torch.testing.assert_close(half[level], embedding)


@pytest.mark.parametrize("norm", ["BN", "GN", "FrozenBN", ""])
def test_every_norm_of_detectron2_works(norm):
    embeddings = build(norm=norm, hidden_dim=32)(level_features())
    assert all(embedding.isfinite().all() for embedding in embeddings.values())
