"""ConvNeXt and Swin as backbones: torchvision's features, a ResNet's contract."""

import pytest
import torch
from detectron2.modeling import build_backbone, build_model

from clsa_search.engine import load_config
from clsa_search.engine.optimizer import scale_layers
from clsa_search.errors import InputError
from clsa_search.modeling import build_reid_branch
from clsa_search.modeling.staged_backbone import STAGES
from tests.support.model_inputs import compute_losses, inference_input, training_input
from tests.support.staged_backbones import (
    DEPTHS,
    KINDS,
    WIDTH,
    build_classifier,
    copy_weights,
    staged_opts,
)
from tests.support.tiny import ROOT

REID_CONFIG = str(ROOT / "configs" / "reid_small_synthetic_demo.yaml")


@pytest.fixture(params=KINDS)
def kind(request):
    torch.manual_seed(0)
    return request.param


@pytest.fixture
def cfg(kind, tiny_cfg):
    tiny_cfg.merge_from_list(staged_opts(kind))
    return tiny_cfg


def build_stages(cfg, **keys):
    """Return the backbone of the re-ID branch."""
    for key, value in keys.items():
        cfg.MODEL.REID.BACKBONE[key] = value
    return build_reid_branch(cfg, {}).backbone


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 32), (256, 128), (100, 68)])
def test_features_are_those_of_torchvision(kind, cfg, size):
    classifier, backbone = build_classifier(kind), build_stages(cfg).eval()
    copy_weights(classifier, backbone)
    crops = torch.randn(2, 3, *size)
    expected = classifier.features(crops)
    if kind != "convnext":
        expected = classifier.norm(expected).permute(0, 3, 1, 2)
    else:
        expected = classifier.classifier[0](expected)
    torch.testing.assert_close(backbone(crops)["res5"], expected)


def test_shapes_are_those_of_the_outputs(cfg):
    backbone = build_backbone(cfg).bottom_up
    outputs = backbone(torch.randn(1, 3, 64, 96))
    assert list(outputs) == list(STAGES) == list(backbone.output_shape())
    for i, (name, shape) in enumerate(backbone.output_shape().items()):
        assert (shape.channels, shape.stride) == (WIDTH << i, 4 << i)
        assert outputs[name].shape == (1, shape.channels, 64 // shape.stride, 96 // shape.stride)
        mean = outputs[name].mean(dim=1)  # each output has a norm
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)


def test_the_pyramid_has_the_levels_of_a_resnet_pyramid(cfg):
    pyramid = build_backbone(cfg)
    assert {name: shape.stride for name, shape in pyramid.output_shape().items()} == {
        f"p{i}": 1 << i for i in range(2, 7)
    }
    assert pyramid.size_divisibility == 32
    cfg.MODEL.FPN.IN_FEATURES = ["res1"]
    with pytest.raises(InputError, match=r"IN_FEATURES is \['res1'\]; expected some of res2, res3"):
        build_backbone(cfg)


def test_only_the_stages_and_norms_of_the_levels_are_built(cfg):
    cfg.MODEL.REID.LEVELS = ["res3", "res4"]
    backbone = build_stages(cfg)
    assert {name.split(".")[0] for name, _ in backbone.named_parameters()} == {
        *("stem", "res2", "res3", "res4", "norm_res3", "norm_res4")
    }
    loss = sum(maps.square().mean() for maps in backbone(torch.randn(2, 3, 64, 32)).values())
    loss.backward()  # a parameter without a gradient stops training on several GPUs
    assert [name for name, value in backbone.named_parameters() if value.grad is None] == []


def test_no_crops_give_no_maps(cfg):
    outputs = build_stages(cfg)(torch.zeros(0, 3, 64, 32))
    assert outputs["res5"].shape == (0, WIDTH * 8, 2, 1)


@pytest.mark.parametrize("freeze_at", [0, 1, 2, 5])
def test_freezing_fixes_the_first_parts(cfg, freeze_at):
    backbone = build_stages(cfg, FREEZE_AT=freeze_at).train()
    parts = ["stem", *STAGES]
    trained = {
        name.removeprefix("norm_").split(".")[0]
        for name, value in backbone.named_parameters()
        if value.requires_grad
    }
    assert trained == set(parts[freeze_at:])
    assert [getattr(backbone, name).training for name in parts] == [
        i >= freeze_at for i in range(len(parts))
    ]
    assert backbone.eval().train().training


def test_paths_are_dropped_in_training_only(cfg):
    backbone, crops = build_stages(cfg), torch.randn(1, 3, 64, 32)
    for module in backbone.modules():
        if hasattr(module, "layer_scale"):
            module.layer_scale.data.fill_(1)
    for training in (True, False):
        backbone.train(training)
        sums = {backbone(crops)["res5"].abs().sum().item() for _ in range(8)}
        assert (len(sums) > 1) == training


@torch.no_grad()
def test_a_last_stride_of_1_samples_the_same_cells_more_densely(tiny_cfg):
    tiny_cfg.merge_from_list(staged_opts("convnext"))
    sparse = build_stages(tiny_cfg)
    dense = build_stages(tiny_cfg, LAST_STRIDE=1)
    dense.load_state_dict(sparse.state_dict())
    assert {name: x.stride for name, x in dense.output_shape().items()}["res5"] == 16
    crops = torch.randn(2, 3, 64, 32)
    assert dense(crops)["res5"].shape == (2, WIDTH * 8, 4, 2)
    maps = torch.randn(2, WIDTH * 4, 4, 2)
    torch.testing.assert_close(dense.res5[0](maps)[:, :, ::2, ::2], sparse.res5[0](maps))


@pytest.mark.parametrize("opts", [staged_opts("swin"), []], ids=["swin", "resnet"])
def test_a_last_stride_without_effect_is_refused(tiny_cfg, opts):
    tiny_cfg.merge_from_list([*opts, "MODEL.REID.BACKBONE.LAST_STRIDE", 1])
    with pytest.raises(InputError, match="LAST_STRIDE is 1, but .* expected 2"):
        build_model(tiny_cfg)


def test_crops_without_a_cell_are_refused(cfg):
    cfg.MODEL.REID.CROP_SIZE = [64, 16]
    with pytest.raises(InputError, match=r"CROP_SIZE is \[64, 16\]; expected sides of 32"):
        build_model(cfg)


def test_levels_that_the_backbone_does_not_have_are_refused(cfg):
    cfg.MODEL.REID.LEVELS = ["res4", "p5"]
    with pytest.raises(InputError, match="expected one or more of res2, res3, res4, res5"):
        build_model(cfg)


def test_depths_rise_with_the_blocks(cfg):
    backbone = build_stages(cfg)
    depths = {name: backbone.layer_depth(name) for name, _ in backbone.named_parameters()}
    assert backbone.depth == sum(DEPTHS) == max(depths.values())
    assert {depth for name, depth in depths.items() if name.startswith("stem.")} == {0}
    by_block = {name.rsplit(".", 1)[0]: depths[name] for name in depths}
    first = ("res2.0.", 1), ("res3.0.", 2), ("res3.1.", 2), ("res4.0.", 3), ("res4.2.", 4)
    for start, depth in (
        *first,
        ("res5.1.", 5),
        ("res5.2.", 6),
        ("norm_res3", 2),
        ("norm_res5", 6),
    ):
        own = {value for name, value in by_block.items() if name.startswith(start)}
        assert own == {depth}, start


def test_learning_rates_fall_with_each_block(cfg):
    model = build_model(cfg)
    factors = scale_layers(model, 0.5)
    for backbone in (model.backbone.bottom_up, model.reid_branch.backbone):
        assert factors[next(backbone.stem.parameters())] == 0.5 ** (sum(DEPTHS) + 1)
        assert factors[backbone.norm_res5.weight] == 0.5


def test_a_person_search_model_learns_and_detects(cfg):
    model = build_model(cfg)
    losses = compute_losses(model, [training_input(0, [0, 1, 2]), training_input(1, [1])])
    sum(losses.values()).backward()
    idle = [name for name, value in model.named_parameters() if value.grad is None]
    assert idle == []
    model.eval()
    with torch.no_grad():
        (output,) = model([inference_input(0, boxes=[[8.0, 8.0, 40.0, 60.0]], query_ids=[3])])
    norms = output["instances"].embeddings.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    assert len(output["queries"]) == 1


def test_the_branch_alone_learns(kind, tiny_opts):
    opts = [*tiny_opts, *staged_opts(kind, detector=False), "MODEL.REID.NUM_IDS", "2"]
    model = build_model(load_config(REID_CONFIG, opts))
    crops = torch.randint(0, 255, (4, 3, 64, 32), dtype=torch.uint8)
    losses = model([{"image": x, "person_id": i % 2} for i, x in enumerate(crops)])
    sum(losses.values()).backward()
    assert all(value.grad is not None for value in model.reid_branch.parameters())


def test_a_backbone_without_the_outputs_of_the_pyramid_is_named(tiny_cfg):
    tiny_cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    message = r"MODEL.RPN.IN_FEATURES is \['p2', .*build_resnet_backbone has no output 'p2'"
    with pytest.raises(InputError, match=message):
        build_model(tiny_cfg)
    tiny_cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    tiny_cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p9"]
    with pytest.raises(InputError, match=r"ROI_HEADS.IN_FEATURES is .*has no output 'p9'"):
        build_model(tiny_cfg)
