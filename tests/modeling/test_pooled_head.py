"""PooledHead: pools and necks by hand, and training with one level."""

import pytest
import torch
from detectron2.modeling import build_model

from clsa_search.engine import load_config
from clsa_search.errors import InputError
from clsa_search.modeling import PooledHead
from clsa_search.structures import UNLABELED
from tests.support.model_inputs import compute_losses, training_input

ONE_LEVEL = [
    *("MODEL.REID.LEVELS", "['res5']", "MODEL.REID.HEAD.NAME", "PooledHead"),
    *("MODEL.REID.BACKBONE.NAME", "build_reid_resnet_backbone"),
]
RES5 = 128  # channels in the tiny model


def build(pool="avg", neck="none", embed_dim=2):
    return PooledHead(in_channels=2, embed_dim=embed_dim, pool=pool, gem_p=3.0, neck=neck).eval()


def test_pools_of_two_cells():
    features = torch.tensor([[[[1.0, 2.0]], [[-4.0, 3.0]]]])  # (1, 2, 1, 2)
    torch.testing.assert_close(build("avg")(features), torch.tensor([[1.5, -0.5]]))
    expected = torch.tensor([[4.5, 13.5]]) ** (1 / 3)  # -4 is raised to almost 0
    torch.testing.assert_close(build("gem")(features), expected)


def test_necks():
    features = torch.tensor([[[[1.0]], [[-3.0]]]])
    norm = build(neck="bn")
    norm.neck.running_mean.fill_(1.0)
    torch.testing.assert_close(norm(features), torch.tensor([[0.0, -4.0]]), rtol=1e-4, atol=0)
    for neck, sign in (("fc_bn", -1), ("fc_bn_relu", 0)):
        head = build(neck=neck, embed_dim=1)
        with torch.no_grad():
            head.neck[0].weight.copy_(torch.tensor([[1.0, 1.0]]))
            if head.neck[0].bias is not None:
                head.neck[0].bias.zero_()
        expected = torch.tensor([[sign * 2.0]])
        torch.testing.assert_close(head(features), expected, rtol=1e-4, atol=0)


def test_the_neck_begins_behind_the_fc_layer():
    features = torch.tensor([[[[1.0]], [[-3.0]]]])
    head = build(neck="fc_bn_relu", embed_dim=1)
    before = head.compute(features)
    torch.testing.assert_close(before, head.neck[0](features.flatten(1)))
    torch.testing.assert_close(head.apply_neck(before), head(features))
    torch.testing.assert_close(build(neck="bn").compute(features), features.flatten(1))


def test_without_fc_the_width_is_that_of_the_level():
    with pytest.raises(InputError, match=r"EMBED_DIM is 5; expected the 2 channels .* 'bn'"):
        build(neck="bn", embed_dim=5)


@pytest.mark.parametrize(
    ("neck", "pool", "embed_dim"),
    [("none", "avg", RES5), ("bn", "gem", RES5), ("fc_bn_relu", "avg", 8)],
)
@pytest.mark.parametrize("pids", [[[0, 1], [2, UNLABELED]], [[], []]], ids=["people", "nobody"])
def test_one_level_trains(tiny_opts, demo_config_file, neck, pool, embed_dim, pids):
    opts = [*ONE_LEVEL, "MODEL.REID.HEAD.POOL", pool, "MODEL.REID.HEAD.NECK", neck]
    opts += ["MODEL.REID.HEAD.EMBED_DIM", str(embed_dim)]
    model = build_model(load_config(demo_config_file, [*tiny_opts, *opts]))
    losses = compute_losses(model, [training_input(i, ids) for i, ids in enumerate(pids)])
    detector = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"}
    assert set(losses) == {*detector, "loss_id_res5"}
    sum(losses.values()).backward()
    head = model.reid_heads["res5"]
    assert all(value.grad is not None for value in head.parameters())
    if any(pids) and pool == "gem":
        assert head.pool.p.grad.abs() > 0
    assert head.eval()(torch.rand(4, RES5, 2, 1)).shape == (4, embed_dim)
